#include "common/collective/nccl_staging.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::collective {
namespace {

// Large enough that copies and sums run at full speed, small beside any model.
constexpr int64_t kStagingBytes = int64_t{8} << 20;

// What every rank sends of itself. Travels between processes of one build as its bytes.
struct Block {
  Step step;
  uint64_t history;
  std::byte payload[kInlineBytes];
};
static_assert(sizeof(Block) % 64 == 0 && offsetof(Block, payload) % 8 == 0);

// splitmix64: each of its input bits changes half of its output bits.
uint64_t Mix(uint64_t state, uint64_t word) {
  state = (state ^ word) + 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}

}  // namespace

absl::StatusOr<NcclStaging> NcclStaging::Allocate(gpu::Api* api, int world_size) {
  NcclStaging staging;
  staging.bytes_per_rank_ =
      std::max<int64_t>(sizeof(Block), kStagingBytes / (world_size + 1) / 64 * 64);
  const int64_t bytes = staging.bytes_per_rank_ * (world_size + 1);
  RETORT_ASSIGN_OR_RETURN(staging.host_, GpuMemory::Allocate(api, GpuMemory::Kind::kPinned, bytes));
  RETORT_ASSIGN_OR_RETURN(staging.device_,
                          GpuMemory::Allocate(api, GpuMemory::Kind::kDevice, bytes));
  return staging;
}

Step NcclExchange::Begin(Operation operation, ElementType type, int64_t count, int64_t place) {
  const Step step{.operation = operation,
                  .type = type,
                  .number = operation == Operation::kJoin ? 0 : ++operations_,
                  .count = count,
                  .place = place,
                  .stage = 0};
  for (const uint64_t word :
       {static_cast<uint64_t>(operation), static_cast<uint64_t>(type), step.number,
        static_cast<uint64_t>(count), static_cast<uint64_t>(place)}) {
    history_ = Mix(history_, word);
  }
  return step;
}

absl::Status NcclExchange::Agree(const Step& step, const void* payload, int64_t bytes) {
  RETORT_RETURN_IF_ERROR(communicator_.Failure());
  auto& own = *reinterpret_cast<Block*>(staging_.host());
  std::memset(static_cast<void*>(&own), 0, sizeof(own));
  own.step = step;
  own.history = history_;
  if (bytes > 0) std::memcpy(own.payload, payload, bytes);
  RETORT_RETURN_IF_ERROR(GatherStaged(step, sizeof(Block)));
  for (int peer = 0; peer < communicator_.world_size(); ++peer) {
    const auto& other = *reinterpret_cast<const Block*>(staging_.host_of_rank(peer, sizeof(Block)));
    if (other.step != step) {
      return communicator_.Fail(MismatchError(communicator_.rank(), step, peer, other.step));
    }
    if (other.history == history_) continue;
    return communicator_.Fail(absl::FailedPreconditionError(absl::StrCat(
        "the ranks called different operations: rank ", communicator_.rank(), " and rank ", peer,
        " are both in ", Describe(step),
        ", but not the same ones came before; all ranks must make the same calls in the same "
        "order")));
  }
  return absl::OkStatus();
}

const std::byte* NcclExchange::PayloadOf(int rank) const {
  return reinterpret_cast<const Block*>(staging_.host_of_rank(rank, sizeof(Block)))->payload;
}

absl::Status NcclExchange::GatherStaged(const Step& step, int64_t bytes) {
  std::byte* const all = staging_.device() + bytes;
  const int64_t all_bytes = bytes * communicator_.world_size();
  RETORT_RETURN_IF_ERROR(communicator_.Copy(step, staging_.device(), staging_.host(), bytes));
  RETORT_RETURN_IF_ERROR(
      communicator_.Launch(step, [&](gpu::NcclApi& nccl, gpu::NcclComm comm, gpu::Stream stream) {
        return nccl.AllGather(staging_.device(), all, bytes, gpu::NcclType::kByte, comm, stream);
      }));
  RETORT_RETURN_IF_ERROR(communicator_.Copy(step, staging_.host() + bytes, all, all_bytes));
  RETORT_RETURN_IF_ERROR(communicator_.Finish(step));
  return communicator_.Wait();
}

}  // namespace retort::collective
