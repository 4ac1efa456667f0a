// One rank's communicator: its life, the order of what is put into its stream, and how a failure
// ends what is under way. Internal to collective/.
//
// Invariants
//   - NCCL is called with `handle_->mutex` held, and not at all once the communicator was taken
//     from the handle: whoever takes it (an abort, the end) is alone with it, as ncclCommAbort
//     wants.
//   - `mutex_` may be taken with the handle's mutex held, never the other way round.
//   - The first failure stays. It starts the abort at once, whichever thread found it; an operation
//     returns only when the abort is over, so that nothing writes to the caller's tensors any more.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "common/collective/gpu_memory.h"
#include "common/collective/limited_call.h"
#include "common/collective/nccl_collective.h"
#include "common/collective/operation_step.h"

namespace retort::collective {

// Not thread-safe but for Failure and Break.
class NcclCommunicator {
 public:
  // Errors as MakeNcclCollective.
  static absl::StatusOr<std::unique_ptr<NcclCommunicator>> Join(const NcclGroup& group);
  // A whole communicator is destroyed, one with something under way aborted; both within the limit.
  ~NcclCommunicator();

  int rank() const { return group_.rank; }
  int world_size() const { return group_.world_size; }
  gpu::Api* api() const { return group_.gpu.api; }
  gpu::Stream stream() const { return stream_->get(); }

  // What is put into the stream from now on waits for what the calling thread's compute stream
  // holds.
  absl::Status FollowCompute(const Step& step);

  // Puts NCCL's part of `step` into the stream, and waits until NCCL has taken it.
  using Enqueue = std::function<absl::Status(gpu::NcclApi&, gpu::NcclComm, gpu::Stream)>;
  absl::Status Launch(const Step& step, const Enqueue& enqueue);

  // Copies in the stream's order.
  absl::Status Copy(const Step& step, void* to, const void* from, int64_t bytes);

  // Everything of `step` is in the stream: Wait waits for it too.
  absl::Status Finish(const Step& step);
  absl::Status Wait();

  // OK, or why the group is broken; then what was under way on this rank is over. Thread-safe.
  absl::Status Failure();

  // Breaks the group with `reason` unless it is broken. Returns at once. Thread-safe.
  void Break(const absl::Status& reason);

  // Breaks the group and returns Failure().
  absl::Status Fail(const absl::Status& reason);

  // "rank 1: all_reduce #17".
  std::string Name(const Step& step) const;

 private:
  struct Handle;
  struct Pending {
    Step step;
    GpuEvent event;
  };

  explicit NcclCommunicator(const NcclGroup& group);
  absl::Status Prepare();
  absl::Status AwaitPeers();
  absl::Status CallNccl(const std::function<absl::Status(gpu::NcclComm)>& call);
  // Nothing is under way any more (Poll's answer); fails if NCCL reports an error.
  absl::StatusOr<bool> Poll(const Step& step);
  absl::Status WaitUntil(const Step& step, absl::Duration deadline,
                         const std::function<absl::StatusOr<bool>()>& done);
  absl::Status Checked(const Step& step, const absl::Status& status);
  absl::StatusOr<GpuEvent> TakeEvent();
  bool broken();

  const NcclGroup group_;
  const std::shared_ptr<Handle> handle_;
  const std::shared_ptr<GpuStream> stream_;  // Shared with an abort that is left behind.
  GpuEvent computed_;
  std::vector<Pending> pending_;  // In the stream's order.
  std::vector<GpuEvent> idle_events_;
  Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  LimitedCall end_;  // The abort, or the orderly end.
};

}  // namespace retort::collective
