#include "common/ring/tensor_ring_consumer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/ring/ring_membership.h"
#include "common/ring/ring_memory.h"
#include "common/ring/slot_protocol.h"

namespace retort::ring {

TensorLease::TensorLease(TensorRingConsumer* ring, const TensorView& view, gpu::Stream stream)
    : ring_(ring),
      header_(view.header),
      data_(view.data),
      slot_(view.slot),
      turn_(view.turn),
      generation_(view.generation),
      stream_(stream) {}

TensorLease::TensorLease(TensorLease&& other) noexcept
    : ring_(std::exchange(other.ring_, nullptr)),
      header_(std::move(other.header_)),
      data_(other.data_),
      slot_(other.slot_),
      turn_(other.turn_),
      generation_(other.generation_),
      stream_(other.stream_) {}

TensorLease::~TensorLease() {
  if (ring_ == nullptr) return;
  const absl::Status status = Release(stream_);
  if (!status.ok()) LogWarning("ring lease released badly error=\"{}\"", status.ToString());
}

bool TensorLease::StillHolds() const { return ring_ != nullptr && ring_->StillHolds(*this); }

absl::Status TensorLease::Release(gpu::Stream stream) {
  if (ring_ == nullptr) return absl::OkStatus();
  return std::exchange(ring_, nullptr)->Release(slot_, stream);
}

TensorRingConsumer::TensorRingConsumer(TensorRingObserver observer, uint64_t self,
                                       std::unique_ptr<ConsumerTransport> transport)
    : observer_(std::move(observer)), self_(self), transport_(std::move(transport)) {}

absl::StatusOr<std::unique_ptr<TensorRingConsumer>> TensorRingConsumer::Open(
    Segment control, const ConsumerOptions& options, std::unique_ptr<ConsumerTransport> transport,
    absl::Duration timeout) {
  ProcessIdentity process = options.process;
  if (process.pid == 0) {
    RETORT_ASSIGN_OR_RETURN(process, OwnProcess());
  }
  RETORT_ASSIGN_OR_RETURN(TensorRingObserver observer,
                          TensorRingObserver::Open(std::move(control), timeout));
  if (observer.shape().transport != transport->kind()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ring's transport is of kind ", static_cast<uint32_t>(observer.shape().transport),
        ", the consumer's of kind ", static_cast<uint32_t>(transport->kind()),
        "; both follow from the job's plan"));
  }
  std::unique_ptr<TensorRingConsumer> ring(
      new TensorRingConsumer(std::move(observer), PackProcess(process), std::move(transport)));
  RETORT_RETURN_IF_ERROR(ring->AttachEntry());
  return ring;
}

absl::Status TensorRingConsumer::AttachEntry() {
  RingMemory& memory = *observer_.memory_;
  RETORT_ASSIGN_OR_RETURN(const uint64_t own, OwnPidNamespace());
  const uint64_t theirs = memory.header().pid_namespace.load();
  if (theirs != 0 && theirs != own) {
    return absl::FailedPreconditionError(
        "the ring's producer is in another PID namespace, so neither can see the other's death; "
        "run "
        "both in one container, or with the host's PID namespace");
  }
  AttachConsumer attach(self_, shape().slots, shape().max_consumers);
  if (RunUntilBlocked(attach, memory) != Progress::kDone) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", shape().max_consumers,
                     " entries of the ring's consumer table belong to living processes; raise "
                     "max_consumers"));
  }
  entry_ = attach.consumer();
  return transport_->Attach(memory, entry_, self_);
}

TensorRingConsumer::~TensorRingConsumer() {
  RETORT_CHECK(leases_ == 0) << leases_ << " leases outlive their consumer";
  if (entry_ < 0) return;
  const absl::Status status = transport_->Detach(kCloseWait);
  if (!status.ok()) {
    // The entry stays this process's until it ends: a producer goes on to wait for the reads.
    LogWarning("ring consumer kept its entry error=\"{}\"", status.ToString());
    return;
  }
  DetachConsumer detach(entry_, shape().slots);
  RunUntilBlocked(detach, *observer_.memory_);
}

void TensorRingConsumer::CloseStale(absl::Duration wait) {
  if (leases_ == 0) transport_->CloseStale(wait);
}

absl::StatusOr<TensorLease> TensorRingConsumer::Acquire(const TensorRequest& request,
                                                        gpu::Stream stream) {
  RingMemory& memory = *observer_.memory_;
  constexpr WordId kCounter{Word::kPublications};
  const absl::Duration end = Clock::Real()->Now() + request.timeout;
  TensorRequest rest = request;
  while (true) {
    const uint64_t seen = memory.Load(kCounter);
    absl::StatusOr<TensorLease> lease = TryAcquire(rest, stream);
    rest.timeout = end - Clock::Real()->Now();
    // Device memory that ended with its producer, though the slot still names it.
    const bool successor_may_come = absl::IsUnavailable(lease.status()) &&
                                    request.await_successor && rest.timeout > absl::ZeroDuration();
    if (!successor_may_come) return lease;
    memory.Sleep(kCounter, seen, rest.timeout);
  }
}

absl::StatusOr<TensorLease> TensorRingConsumer::TryAcquire(const TensorRequest& request,
                                                           gpu::Stream stream) {
  const absl::Duration end = Clock::Real()->Now() + request.timeout;
  absl::StatusOr<TensorView> view = Lease(request);
  CloseStale(end - Clock::Real()->Now());
  if (!view.ok()) return view.status();
  ++leases_;
  Failpoint("ring.leased").IgnoreError();
  if (const absl::Status status = Prepare(*view, stream); !status.ok()) {
    GiveBack(view->slot);
    return status;
  }
  return TensorLease(this, *view, stream);
}

absl::StatusOr<TensorView> TensorRingConsumer::Lease(const TensorRequest& request) {
  RingMemory& memory = *observer_.memory_;
  const absl::Duration end = Clock::Real()->Now() + request.timeout;
  TensorRequest rest = request;
  while (true) {
    RETORT_ASSIGN_OR_RETURN(TensorView view, observer_.ObserveWhile(rest, [this] {
      CloseStale(absl::ZeroDuration());
    }));
    if (memory.Load({Word::kLease, view.slot, entry_}) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("this consumer leases slot ", view.slot, " already; release it first"));
    }
    LeaseSlot lease(entry_, view.slot, view.turn);
    if (RunUntilBlocked(lease, memory) == Progress::kDone) return view;
    rest.timeout = std::max(absl::ZeroDuration(), end - Clock::Real()->Now());
  }
}

absl::Status TensorRingConsumer::Prepare(TensorView& view, gpu::Stream stream) {
  RETORT_ASSIGN_OR_RETURN(const std::byte* const payload,
                          transport_->Payload(view.generation, view.slot));
  view.data = absl::MakeConstSpan(payload, static_cast<size_t>(view.header.bytes));
  return transport_->BeforeRead(view.slot, stream);
}

void TensorRingConsumer::GiveBack(int slot) {
  ReleaseSlot release(entry_, slot);
  RunUntilBlocked(release, *observer_.memory_);
  --leases_;
}

absl::Status TensorRingConsumer::Release(int slot, gpu::Stream stream) {
  const absl::Status status = transport_->AfterRead(stream);
  GiveBack(slot);
  return status;
}

bool TensorRingConsumer::StillHolds(const TensorLease& lease) const {
  TensorView view;
  view.slot = lease.slot_;
  view.turn = lease.turn_;
  return observer_.StillHolds(view) && transport_->IsCurrent(lease.generation_);
}

}  // namespace retort::ring
