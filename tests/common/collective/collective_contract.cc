#include "common/collective/collective_contract.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/rng.h"

namespace retort::collective {
namespace {

const int64_t kSizes[] = {0, 1, 7, (1 << 20) + 3};

// Leaves the body with the reason when `condition` does not hold.
#define CONTRACT_EXPECT(condition, ...)                                               \
  if (!(condition)) {                                                                 \
    return absl::StrCat(__FILE__, ":", __LINE__, ": " #condition " ", ##__VA_ARGS__); \
  }
#define CONTRACT_OK(expr)                                                           \
  if (absl::Status contract_status = (expr); !contract_status.ok()) {               \
    return absl::StrCat(__FILE__, ":", __LINE__, ": ", contract_status.ToString()); \
  }

// What rank `rank` brings to call `call`: numbers whose float sum depends on the order of the
// ranks.
template <typename T>
std::vector<T> Contribution(int rank, int call, int64_t count) {
  CounterRng rng(7, RngPurpose::kData, static_cast<uint64_t>(rank), static_cast<uint32_t>(call));
  uint64_t state = rng.NextU64();
  std::vector<T> values(count);
  for (T& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator.
    const auto digits = static_cast<double>(static_cast<int32_t>(state >> 32));
    value = static_cast<T>(digits * static_cast<double>(int64_t{1} << (state >> 27 & 15)));
  }
  return values;
}

template <typename T>
std::vector<T> RankOrderSum(int world_size, int call, int64_t count) {
  std::vector<T> sum = Contribution<T>(0, call, count);
  for (int rank = 1; rank < world_size; ++rank) {
    const std::vector<T> x = Contribution<T>(rank, call, count);
    for (int64_t i = 0; i < count; ++i) sum[i] = static_cast<T>(sum[i] + x[i]);
  }
  return sum;
}

template <typename T>
at::Tensor ToTensor(const std::vector<T>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())},
                                at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
  if (!values.empty()) std::memcpy(tensor.data_ptr(), values.data(), values.size() * sizeof(T));
  return tensor;
}

template <typename T>
bool SameBits(const at::Tensor& tensor, const std::vector<T>& want) {
  return tensor.numel() == static_cast<int64_t>(want.size()) &&
         (want.empty() ||
          std::memcmp(tensor.data_ptr(), want.data(), want.size() * sizeof(T)) == 0);
}

template <typename T>
std::string AllReduceEverySize(Collective& group, const ContractWorld&) {
  int call = 0;
  for (const int64_t size : kSizes) {
    const at::Tensor tensor = ToTensor(Contribution<T>(group.rank(), call, size));
    CONTRACT_OK(group.AllReduceSum(tensor));
    CONTRACT_EXPECT(SameBits(tensor, RankOrderSum<T>(group.world_size(), call, size)), "size ",
                    size);
    ++call;
  }
  return "";
}

std::string AllReduceInBuffer(Collective& group, const ContractWorld&) {
  constexpr int64_t kElements = (1 << 20) + 3;
  const absl::StatusOr<at::Tensor> buffer = group.AllocateBuffer(kElements);
  CONTRACT_OK(buffer.status());
  CONTRACT_EXPECT(buffer->numel() == kElements && buffer->scalar_type() == at::kFloat);
  CONTRACT_EXPECT(reinterpret_cast<uintptr_t>(buffer->data_ptr()) % 64 == 0);
  CONTRACT_EXPECT(SameBits(*buffer, std::vector<float>(kElements, 0.0f)));
  // The whole, a large view that is not aligned, a small view.
  const std::pair<int64_t, int64_t> views[] = {{0, kElements}, {5, kElements - 9}, {1001, 17}};
  int call = 10;
  for (const auto& [first, size] : views) {
    const at::Tensor view = buffer->narrow(0, first, size);
    view.copy_(ToTensor(Contribution<float>(group.rank(), call, size)));
    CONTRACT_OK(group.AllReduceSum(view));
    CONTRACT_EXPECT(SameBits(view, RankOrderSum<float>(group.world_size(), call, size)), "view of ",
                    size);
    ++call;
  }
  return "";
}

std::string AllocateTwoBuffers(Collective& group, const ContractWorld&) {
  const absl::StatusOr<at::Tensor> empty = group.AllocateBuffer(0);
  const absl::StatusOr<at::Tensor> a = group.AllocateBuffer(100'000);
  const absl::StatusOr<at::Tensor> b = group.AllocateBuffer(100'000);
  CONTRACT_OK(empty.status());
  CONTRACT_OK(a.status());
  CONTRACT_OK(b.status());
  CONTRACT_OK(group.AllReduceSum(*empty));
  a->fill_(1.0f);
  CONTRACT_OK(group.AllReduceSum(*a));
  CONTRACT_EXPECT(
      SameBits(*a, std::vector<float>(100'000, static_cast<float>(group.world_size()))));
  CONTRACT_EXPECT(SameBits(*b, std::vector<float>(100'000, 0.0f)));
  return "";
}

std::string AllReduceSpecialValues(Collective& group, const ContractWorld&) {
  const float denormal = std::numeric_limits<float>::denorm_min();
  const float infinity = std::numeric_limits<float>::infinity();
  const at::Tensor tensor = ToTensor<float>({-0.0f, denormal, infinity, NAN});
  CONTRACT_OK(group.AllReduceSum(tensor));
  const auto* const got = static_cast<const float*>(tensor.data_ptr());
  CONTRACT_EXPECT(got[0] == 0.0f && std::signbit(got[0]), "a sum of -0 is -0");
  CONTRACT_EXPECT(got[1] == denormal * static_cast<float>(group.world_size()));
  CONTRACT_EXPECT(got[2] == infinity && std::isnan(got[3]));
  return "";
}

std::string AllGatherEverySize(Collective& group, const ContractWorld&) {
  int call = 20;
  for (const int64_t size : kSizes) {
    const absl::StatusOr<at::Tensor> all =
        group.AllGather(ToTensor(Contribution<float>(group.rank(), call, size)));
    CONTRACT_OK(all.status());
    CONTRACT_EXPECT(all->dim() == 2 && all->size(0) == group.world_size() && all->size(1) == size);
    for (int r = 0; r < group.world_size(); ++r) {
      CONTRACT_EXPECT(SameBits(all->select(0, r), Contribution<float>(r, call, size)), "size ",
                      size);
    }
    ++call;
  }
  const absl::StatusOr<at::Tensor> scalar =
      group.AllGather(at::scalar_tensor(group.rank(), at::kDouble));
  CONTRACT_OK(scalar.status());
  CONTRACT_EXPECT(scalar->dim() == 1 && scalar->size(0) == group.world_size());
  return "";
}

std::string AllGatherRaggedRows(Collective& group, const ContractWorld&) {
  const int rank = group.rank();
  const at::Tensor mine = at::full({3 * rank, 2}, rank, at::kLong);  // Rank 0 has none.
  const absl::StatusOr<std::vector<at::Tensor>> rows = group.AllGatherRows(mine);
  CONTRACT_OK(rows.status());
  CONTRACT_EXPECT(static_cast<int>(rows->size()) == group.world_size());
  for (int r = 0; r < group.world_size(); ++r) {
    CONTRACT_EXPECT((*rows)[r].equal(at::full({3 * r, 2}, r, at::kLong)), "rank ", r);
  }
  return "";
}

std::string AllGatherRaggedBytes(Collective& group, const ContractWorld&) {
  const auto of_rank = [&](int r) { return std::string(r % 2 == 0 ? r : 2'500'000 + r, 'a' + r); };
  const absl::StatusOr<std::vector<std::string>> all =
      group.AllGatherVariable(of_rank(group.rank()));
  CONTRACT_OK(all.status());
  for (int r = 0; r < group.world_size(); ++r) CONTRACT_EXPECT((*all)[r] == of_rank(r));
  return "";
}

std::string BroadcastFromEachRoot(Collective& group, const ContractWorld&) {
  int call = 40;
  for (int root = 0; root < group.world_size(); ++root) {
    for (const int64_t size : kSizes) {
      const at::Tensor tensor = ToTensor(Contribution<double>(group.rank(), call, size));
      CONTRACT_OK(group.Broadcast(tensor, root));
      CONTRACT_EXPECT(SameBits(tensor, Contribution<double>(root, call, size)), "size ", size);
      ++call;
    }
  }
  return "";
}

// Operations of all kinds back to back: each must leave the shared state ready for the next.
std::string ManyOperations(Collective& group, const ContractWorld&) {
  for (int i = 0; i < 100; ++i) {
    const int64_t size = i % 3 == 0 ? 300'001 : 11 + i;  // Staged in two chunks, or small.
    const at::Tensor sum = at::full({size}, i + group.rank(), at::kFloat);
    CONTRACT_OK(group.AllReduceSum(sum));
    const int n = group.world_size();
    CONTRACT_EXPECT(sum.eq(n * i + n * (n - 1) / 2).all().item<bool>(), "operation ", i);
    CONTRACT_OK(group.Barrier());
    const absl::StatusOr<at::Tensor> all =
        group.AllGather(at::full({size}, group.rank(), at::kLong));
    CONTRACT_OK(all.status());
    CONTRACT_EXPECT(all->select(0, n - 1).eq(n - 1).all().item<bool>());
    const at::Tensor shared = at::full({size}, group.rank(), at::kLong);
    CONTRACT_OK(group.Broadcast(shared, i % n));
    CONTRACT_EXPECT(shared.eq(i % n).all().item<bool>());
  }
  return "";
}

std::string InvalidTensorsLeaveTheGroupWhole(Collective& group, const ContractWorld&) {
  const auto refused = [](const absl::Status& status) { return absl::IsInvalidArgument(status); };
  CONTRACT_EXPECT(refused(group.AllReduceSum(at::Tensor())));
  CONTRACT_EXPECT(refused(group.AllReduceSum(at::zeros({4}, at::kInt))));
  CONTRACT_EXPECT(refused(group.AllReduceSum(at::zeros({4, 4}).t())));
  CONTRACT_EXPECT(refused(group.Broadcast(at::zeros({4}), group.world_size())));
  CONTRACT_EXPECT(refused(group.Broadcast(at::zeros({4}), -1)));
  CONTRACT_EXPECT(refused(group.AllocateBuffer(-1).status()));
  CONTRACT_EXPECT(refused(group.AllGatherRows(at::scalar_tensor(1.0)).status()));
  CONTRACT_OK(group.Barrier());
  return "";
}

std::string DifferentSizesAreRefused(Collective& group, const ContractWorld&) {
  const absl::Status status = group.AllReduceSum(at::zeros({group.rank() == 0 ? 5 : 6}));
  CONTRACT_EXPECT(absl::IsFailedPrecondition(status), status.ToString());
  CONTRACT_EXPECT(absl::StrContains(status.message(), "all_reduce #1"), status.ToString());
  CONTRACT_EXPECT(absl::IsFailedPrecondition(group.Barrier()), "the group stays broken");
  return "";
}

std::string AbortWakesPeers(Collective& group, const ContractWorld& world) {
  absl::Status status = group.Barrier();
  const bool aborts = group.rank() == group.world_size() - 1;
  if (aborts) group.Abort("gradient is not finite");
  // A rank may hear of it while it still waits for another one in the first barrier.
  if (status.ok()) status = group.Barrier();
  if (!world.peers_hear && !aborts) {
    CONTRACT_EXPECT(absl::IsDeadlineExceeded(status), status.ToString());
    CONTRACT_EXPECT(absl::IsDeadlineExceeded(group.Barrier()), "the group stays broken");
    return "";
  }
  CONTRACT_EXPECT(absl::IsAborted(status), status.ToString());
  const std::string want =
      absl::StrCat("rank ", group.world_size() - 1, " aborted the group: gradient is not finite");
  CONTRACT_EXPECT(status.message() == want, status.ToString());
  CONTRACT_EXPECT(absl::IsAborted(group.AllReduceSum(at::zeros({3}))), "the group stays broken");
  return "";
}

std::string AbsentRankMeansDeadline(Collective& group, const ContractWorld& world) {
  const int last = group.world_size() - 1;
  if (group.rank() == last) world.hold();
  const absl::Status status = group.AllReduceSum(at::zeros({3}));
  if (group.rank() == 0) world.release();
  CONTRACT_EXPECT(absl::IsDeadlineExceeded(status), status.ToString());
  const std::string want = absl::StrCat("all_reduce #1", world.peers_hear ? ": rank " : "",
                                        world.peers_hear ? absl::StrCat(last) : "");
  CONTRACT_EXPECT(absl::StrContains(status.message(), want), status.ToString());
  return "";
}

}  // namespace

const std::vector<ContractCase>& ContractCases() {
  static const auto* const cases = new std::vector<ContractCase>{
      {.name = "AllReduceFloat32", .body = AllReduceEverySize<float>},
      {.name = "AllReduceFloat64", .body = AllReduceEverySize<double>},
      {.name = "AllReduceInt64", .body = AllReduceEverySize<int64_t>},
      {.name = "AllReduceInBuffer", .body = AllReduceInBuffer},
      {.name = "AllocateTwoBuffers", .body = AllocateTwoBuffers},
      {.name = "AllReduceSpecialValues", .body = AllReduceSpecialValues},
      {.name = "AllGather", .body = AllGatherEverySize},
      {.name = "AllGatherRows", .body = AllGatherRaggedRows},
      {.name = "AllGatherVariable", .body = AllGatherRaggedBytes},
      {.name = "Broadcast", .body = BroadcastFromEachRoot},
      {.name = "ManyOperations", .body = ManyOperations},
      {.name = "InvalidTensors", .body = InvalidTensorsLeaveTheGroupWhole},
      {.name = "DifferentSizes",
       .breaks_group = true,
       .min_world_size = 2,
       .body = DifferentSizesAreRefused},
      {.name = "Abort", .breaks_group = true, .min_world_size = 2, .body = AbortWakesPeers},
      {.name = "Deadline",
       .breaks_group = true,
       .min_world_size = 2,
       .body = AbsentRankMeansDeadline,
       .deadline = absl::Milliseconds(500)},
  };
  return *cases;
}

}  // namespace retort::collective
