// NCCL between real processes: one for each GPU, and two on one GPU, which NCCL may refuse.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/collective/local_group.h"
#include "common/collective/nccl_collective.h"
#include "common/collective/staged_collective.h"
#include "gpu/gpu_children.h"
#include "gpu/gpu_environment.h"
#include "multiprocess/child_process.h"

namespace retort::gpu {
namespace {

constexpr int kTimes = 10;
constexpr int64_t kElements = int64_t{128} << 20;  // 512 MiB.

// Sums a buffer that holds rank + 1 and checks what comes out; GB/s of the buffer's bytes.
absl::StatusOr<double> SumBuffer(collective::Collective& group, int64_t elements) {
  RETORT_ASSIGN_OR_RETURN(const at::Tensor buffer, group.AllocateBuffer(elements));
  const int world = group.world_size();
  const float want = static_cast<float>(world * (world + 1) / 2);
  double seconds = 0;
  for (int i = 0; i <= kTimes; ++i) {
    buffer.fill_(static_cast<float>(group.rank() + 1));
    RETORT_RETURN_IF_ERROR(group.Barrier());
    const absl::Time start = absl::Now();
    RETORT_RETURN_IF_ERROR(group.AllReduceSum(buffer));
    if (i > 0) seconds += absl::ToDoubleSeconds(absl::Now() - start);
    if (buffer.min().item<float>() != want || buffer.max().item<float>() != want) {
      return absl::DataLossError(absl::StrCat("sums from ", buffer.min().item<float>(), " to ",
                                              buffer.max().item<float>(), ", expected ", want));
    }
  }
  const at::Tensor counts = at::tensor({int64_t{group.rank()}, int64_t{1}}, at::kLong);
  RETORT_RETURN_IF_ERROR(group.AllReduceSum(counts));
  if (counts[1].item<int64_t>() != world) return absl::DataLossError("a wrong count");
  return kTimes * static_cast<double>(buffer.nbytes()) / seconds / 1e9;
}

absl::Status RunRank(const std::vector<int64_t>& numbers, const std::string& id) {
  const int device = static_cast<int>(numbers[2]);
  RETORT_RETURN_IF_ERROR(TestGpu()->plugin.api->SetDevice(device));
  collective::NcclGroup group;
  group.gpu = TestGpu()->plugin;
  group.device = device;
  std::copy(id.begin(), id.end(), group.id.bytes.begin());
  group.rank = static_cast<int>(numbers[0]);
  group.world_size = static_cast<int>(numbers[1]);
  group.options.join_deadline = absl::Seconds(60);
  group.options.deadline = absl::Seconds(60);
  group.keep_waiting = [] { return absl::OkStatus(); };
  group.end_process = [](const std::string& why) {
    std::fprintf(stderr, "nccl-rank: %s\n", why.c_str());
    std::_Exit(3);
  };
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<collective::Collective> formed,
                          collective::MakeNcclCollective(group));
  RETORT_ASSIGN_OR_RETURN(const double rate, SumBuffer(*formed, numbers[3]));
  std::printf("sums of %ld bytes: %.1f GB/s\n", static_cast<long>(4 * numbers[3]), rate);
  return absl::OkStatus();
}

class NcclTest : public GpuTest {
 protected:
  // All ranks' exit statuses are 0; what rank 0 printed, or why not.
  absl::StatusOr<std::string> RunRanks(int world, int devices, bool own_host_ids) {
    const NcclId id = *gpu().plugin.nccl->MakeId();
    const std::string hex =
        absl::BytesToHexString(absl::string_view(id.bytes.data(), id.bytes.size()));
    std::vector<std::unique_ptr<ChildProcess>> ranks;
    for (int rank = 0; rank < world; ++rank) {
      std::vector<std::string> command;
      if (own_host_ids) command = {"env", absl::StrCat("NCCL_HOSTID=rank", rank)};
      command.insert(command.end(), {ExecutableDirectory() + "/retort-gpu-test", "nccl-rank",
                                     absl::StrCat(rank), absl::StrCat(world),
                                     absl::StrCat(rank % devices), absl::StrCat(kElements), hex});
      ranks.push_back(std::make_unique<ChildProcess>(command));
    }
    bool all = true;
    for (const auto& rank : ranks) all = rank->Wait() == 0 && all;
    if (all) return ranks.front()->output();
    return absl::InternalError("a rank failed; see above");
  }
};

TEST_F(NcclTest, OneRankAGpu_SumsAreRight) {
  const int devices = gpu().device_count;
  const auto output = RunRanks(devices, devices, /*own_host_ids=*/false);
  ASSERT_TRUE(output.ok()) << output.status();
  std::printf("NCCL, %d ranks, %s", devices, output->c_str());
}

// Where NCCL refuses, ranks on one GPU reduce through pinned host memory instead.
TEST_F(NcclTest, TwoRanksOnOneGpu_NcclOrStagedThroughTheHost) {
  const auto output = RunRanks(/*world=*/2, /*devices=*/1, /*own_host_ids=*/true);
  std::printf("NCCL with two ranks on one GPU and distinct NCCL_HOSTID: %s\n",
              output.ok() ? output->c_str() : "refused; collective: shm is run instead");
  auto groups = *collective::MakeLocalGroup(2);
  std::vector<absl::StatusOr<double>> rates(2, absl::UnknownError("not run"));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      RETORT_CHECK(api().SetDevice(gpu().info.index).ok());
      auto staged = collective::StageThroughHost(std::move(groups[rank]), &api(), gpu().info.index,
                                                 collective::CollectiveOptions());
      rates[rank] = staged.ok() ? SumBuffer(**staged, kElements / 8) : staged.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& rate : rates) ASSERT_TRUE(rate.ok()) << rate.status();
  std::printf("staged through pinned host memory, two ranks, 64 MiB: %.2f GB/s\n", *rates[0]);
}

}  // namespace

int NcclRankMain(int argc, char** argv) {
  std::vector<int64_t> numbers(4);
  RETORT_CHECK(argc == 5) << "nccl-rank RANK WORLD_SIZE DEVICE ELEMENTS ID";
  for (int i = 0; i < 4; ++i) RETORT_CHECK(absl::SimpleAtoi(argv[i], &numbers[i])) << argv[i];
  const std::string id = absl::HexStringToBytes(argv[4]);
  RETORT_CHECK(id.size() == sizeof(NcclId::bytes)) << "an id of " << id.size() << " bytes";
  const absl::Status status = RunRank(numbers, id);
  if (!status.ok()) std::fprintf(stderr, "nccl-rank: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace retort::gpu
