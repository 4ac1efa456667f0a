// The collective between GPUs, over NCCL: one GPU for each rank, on one host or several. Over the
// interfaces of common/gpu, so that it is built and tested without a GPU.
//
// Tensors of the GPU are reduced where they are. Tensors of the host (counts, flags, bytes) pass
// through pinned memory and device memory that the group keeps. Every wait polls, with the deadline
// of CollectiveOptions, the event of the operation and the communicator's own errors; nothing
// blocks in the run-time.
//
// Sums repeat bit for bit with the same ranks, tensors and build (gpu/nccl_environment.h), but a
// ring adds in another order than rank order, so that they differ from `shm`'s in the last bits. A
// host tensor of up to kInlineBytes is gathered and added in rank order, as `shm` adds it: counts,
// flags and loss sums agree with the other backends.
//
// What is checked of "all ranks make the same calls", which NCCL does not: every operation but
// StartAllReduceSum of a tensor on the GPU first gathers a block of fixed size from each rank,
// which tells the operation, its number, type, count and root, and a digest of all operations so
// far; small host tensors ride in the same block. So ranks that begin different sums find out at
// the next operation, if these sums end.
//
// A rank that aborts, dies or stays away cannot tell its peers: they see their deadline, or an
// error that NCCL reports. An operation that fails ends what is under way on this rank, in a helper
// thread; if that does not return within `abort_limit`, `end_process` is called.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/collective.h"
#include "common/gpu/plugin.h"

namespace retort::collective {

// Of the block that every rank sends; small host tensors fit.
inline constexpr int64_t kInlineBytes = 976;

struct NcclGroup {
  gpu::Plugin gpu;  // Both set; they outlive the group and its buffers.
  int device = 0;   // Of gpu.api; this rank's alone: NCCL refuses two ranks on one GPU.
  gpu::NcclId id;   // Of this group alone: made by one rank, the same on all.
  int rank = 0;
  int world_size = 1;
  CollectiveOptions options{};
  // Asked while the ranks join; an error ends the wait. Thread: the caller's.
  std::function<absl::Status()> keep_waiting = [] { return absl::OkStatus(); };
  // Aborting hangs inside NCCL now and then, and a process that keeps its GPU helps nobody.
  absl::Duration abort_limit = absl::Seconds(10);
  std::function<void(const std::string& why)> end_process;  // Must be set; should not return.
};

// Waits until all ranks have joined. The group works with the GPU's stream that the calling thread
// computes on (gpu::Api::CurrentStream) at each call. gpu::SetNcclEnvironment comes first.
// Errors: DEADLINE_EXCEEDED the ranks did not all join within join_deadline; those of keep_waiting;
// RESOURCE_EXHAUSTED memory of the GPU; INTERNAL with NCCL's text, such as a stale id;
// INVALID_ARGUMENT.
absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclGroup& group);

}  // namespace retort::collective
