#include "common/collective/nccl_communicator.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/collective/poll_pause.h"

namespace retort::collective {

struct NcclCommunicator::Handle {
  Mutex mutex;                                          // Held for every call on the communicator.
  gpu::NcclComm comm ABSL_GUARDED_BY(mutex) = nullptr;  // Null: not yet made, or taken.

  gpu::NcclComm Take() {
    MutexLock lock(&mutex);
    return std::exchange(comm, nullptr);
  }
};

NcclCommunicator::NcclCommunicator(const NcclGroup& group)
    : group_(group),
      handle_(std::make_shared<Handle>()),
      stream_(std::make_shared<GpuStream>()),
      end_(absl::StrCat("rank ", group.rank, ": NCCL's end of a communicator"), group.abort_limit,
           group.end_process) {}

NcclCommunicator::~NcclCommunicator() {
  if (!pending_.empty()) Break(absl::AbortedError("the group ends with sums under way"));
  if (broken()) return;  // ~LimitedCall waits.
  end_.Start(
      [handle = handle_, nccl = group_.gpu.nccl, api = group_.gpu.api, device = group_.device] {
        const gpu::NcclComm comm = handle->Take();
        if (comm == nullptr) return;
        api->SetDevice(device).IgnoreError();
        nccl->Destroy(comm).IgnoreError();
      });
}

std::string NcclCommunicator::Name(const Step& step) const {
  return absl::StrCat("rank ", rank(), ": ", Describe(step));
}

absl::StatusOr<std::unique_ptr<NcclCommunicator>> NcclCommunicator::Join(const NcclGroup& group) {
  std::unique_ptr<NcclCommunicator> communicator(new NcclCommunicator(group));
  RETORT_RETURN_IF_ERROR(communicator->Prepare());
  RETORT_RETURN_IF_ERROR(communicator->AwaitPeers());
  return communicator;
}

absl::Status NcclCommunicator::Prepare() {
  RETORT_RETURN_IF_ERROR(api()->SetDevice(group_.device));
  RETORT_ASSIGN_OR_RETURN(*stream_, NewStream(api()));
  RETORT_ASSIGN_OR_RETURN(computed_, NewEvent(api()));
  const absl::StatusOr<gpu::NcclComm> comm = group_.gpu.nccl->Init(group_.id, rank(), world_size());
  if (!comm.ok()) return Checked({.operation = Operation::kJoin}, comm.status());
  MutexLock lock(&handle_->mutex);
  handle_->comm = *comm;
  return absl::OkStatus();
}

absl::Status NcclCommunicator::AwaitPeers() {
  const Step join{.operation = Operation::kJoin};
  return WaitUntil(join, group_.options.join_deadline, [&]() -> absl::StatusOr<bool> {
    if (absl::Status go_on = group_.keep_waiting(); !go_on.ok()) {
      return Fail(WithContext(go_on, Name(join)));
    }
    return Poll(join);
  });
}

absl::Status NcclCommunicator::CallNccl(const std::function<absl::Status(gpu::NcclComm)>& call) {
  {
    MutexLock lock(&handle_->mutex);
    if (handle_->comm != nullptr) return call(handle_->comm);
  }
  return Failure();
}

// The group is broken by any error, also by one that leaves NCCL's communicator whole: the peers
// are inside the operation.
absl::Status NcclCommunicator::Checked(const Step& step, const absl::Status& status) {
  if (status.ok()) return status;
  if (broken()) return Failure();
  const absl::StatusCode code = status.code() == absl::StatusCode::kInvalidArgument
                                    ? absl::StatusCode::kInternal
                                    : status.code();
  return Fail(absl::Status(code, absl::StrCat(Name(step), ": ", status.message())));
}

absl::StatusOr<bool> NcclCommunicator::Poll(const Step& step) {
  bool idle = false;
  RETORT_RETURN_IF_ERROR(Checked(step, CallNccl([&](gpu::NcclComm comm) -> absl::Status {
                                   RETORT_ASSIGN_OR_RETURN(idle, group_.gpu.nccl->Poll(comm));
                                   return absl::OkStatus();
                                 })));
  return idle;
}

absl::Status NcclCommunicator::WaitUntil(const Step& step, absl::Duration deadline,
                                         const std::function<absl::StatusOr<bool>()>& done) {
  const absl::Duration start = Clock::Real()->Now();
  while (true) {
    if (broken()) return Failure();
    RETORT_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return absl::OkStatus();
    const absl::Duration waited = Clock::Real()->Now() - start;
    if (waited > deadline) {
      return Fail(absl::DeadlineExceededError(absl::StrCat(
          Name(step), " did not end within ", absl::FormatDuration(deadline), " among ",
          world_size(), " ranks: one is missing, hangs or does something else")));
    }
    PauseBetweenPolls(waited, group_.options.spin);
  }
}

absl::Status NcclCommunicator::FollowCompute(const Step& step) {
  if (broken()) return Failure();
  RETORT_RETURN_IF_ERROR(Checked(step, api()->Record(computed_.get(), api()->CurrentStream())));
  return Checked(step, api()->StreamWait(stream(), computed_.get()));
}

absl::Status NcclCommunicator::Launch(const Step& step, const Enqueue& enqueue) {
  if (broken()) return Failure();
  RETORT_RETURN_IF_ERROR(Checked(step, CallNccl([&](gpu::NcclComm comm) {
                                   return enqueue(*group_.gpu.nccl, comm, stream());
                                 })));
  // Until then the operation may not be in the stream, and an event would come before it.
  return WaitUntil(step, group_.options.deadline, [&] { return Poll(step); });
}

absl::Status NcclCommunicator::Copy(const Step& step, void* to, const void* from, int64_t bytes) {
  if (broken()) return Failure();
  return Checked(step, api()->Copy(to, from, bytes, stream()));
}

absl::StatusOr<GpuEvent> NcclCommunicator::TakeEvent() {
  if (idle_events_.empty()) return NewEvent(api());
  GpuEvent event = std::move(idle_events_.back());
  idle_events_.pop_back();
  return event;
}

absl::Status NcclCommunicator::Finish(const Step& step) {
  if (broken()) return Failure();
  absl::StatusOr<GpuEvent> event = TakeEvent();
  RETORT_RETURN_IF_ERROR(Checked(step, event.status()));
  RETORT_RETURN_IF_ERROR(Checked(step, api()->Record(event->get(), stream())));
  pending_.push_back({step, *std::move(event)});
  return absl::OkStatus();
}

absl::Status NcclCommunicator::Wait() {
  if (broken()) return Failure();
  for (Pending& pending : pending_) {
    RETORT_RETURN_IF_ERROR(
        WaitUntil(pending.step, group_.options.deadline, [&]() -> absl::StatusOr<bool> {
          RETORT_RETURN_IF_ERROR(Poll(pending.step).status());
          const absl::StatusOr<bool> done = api()->IsDone(pending.event.get());
          RETORT_RETURN_IF_ERROR(Checked(pending.step, done.status()));
          return *done;
        }));
  }
  for (Pending& pending : pending_) idle_events_.push_back(std::move(pending.event));
  pending_.clear();
  return absl::OkStatus();
}

bool NcclCommunicator::broken() {
  MutexLock lock(&mutex_);
  return !failure_.ok();
}

absl::Status NcclCommunicator::Failure() {
  if (!broken()) return absl::OkStatus();
  end_.Await();
  MutexLock lock(&mutex_);
  return failure_;
}

absl::Status NcclCommunicator::Fail(const absl::Status& reason) {
  Break(reason);
  return Failure();
}

void NcclCommunicator::Break(const absl::Status& reason) {
  MutexLock lock(&mutex_);
  if (!failure_.ok()) return;
  failure_ = reason;
  // Also waits until the stream is empty: a kernel that ends late must not write to memory that its
  // owner frees when it hears of the failure.
  end_.Start([handle = handle_, nccl = group_.gpu.nccl, api = group_.gpu.api,
              device = group_.device, stream = stream_, limit = group_.abort_limit] {
    api->SetDevice(device).IgnoreError();
    if (const gpu::NcclComm comm = handle->Take(); comm != nullptr) {
      nccl->Abort(comm).IgnoreError();
    }
    const absl::StatusOr<GpuEvent> drained = NewEvent(api);
    if (!drained.ok() || !api->Record(drained->get(), stream->get()).ok()) return;
    while (WaitForEvent(api, drained->get(), limit, absl::ZeroDuration()).code() ==
           absl::StatusCode::kDeadlineExceeded) {
    }
  });
}

}  // namespace retort::collective
