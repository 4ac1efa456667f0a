#include "common/ring/tensor_ring.h"

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

SlotWrite::SlotWrite(TensorRingProducer* ring, int64_t sequence, uint64_t turn, std::byte* data,
                     int64_t capacity, gpu::Stream stream)
    : ring_(ring),
      sequence_(sequence),
      turn_(turn),
      data_(data),
      capacity_(capacity),
      stream_(stream) {
  ++ring_->open_writes_;
}

void SlotWrite::Detach() { --std::exchange(ring_, nullptr)->open_writes_; }

SlotWrite::SlotWrite(SlotWrite&& other) noexcept
    : ring_(std::exchange(other.ring_, nullptr)),
      sequence_(other.sequence_),
      turn_(other.turn_),
      data_(other.data_),
      capacity_(other.capacity_),
      stream_(other.stream_) {}

SlotWrite::~SlotWrite() {
  if (ring_ == nullptr) return;
  ring_->AbandonSlot(*this);
  Detach();
}

absl::Status SlotWrite::Commit(const TensorHeader& header) {
  if (ring_ == nullptr || header.sequence != sequence_) {
    return absl::FailedPreconditionError(
        absl::StrCat("commit of tensor ", header.sequence, "; ",
                     ring_ == nullptr ? std::string("that write has ended")
                                      : absl::StrCat("the open one is ", sequence_)));
  }
  const absl::Status status = ring_->CommitSlot(*this, header);
  if (status.ok() || absl::IsAborted(status)) Detach();  // Either way the write has ended.
  return status;
}

TensorRingProducer::TensorRingProducer(std::unique_ptr<RingMemory> memory,
                                       const ProducerOptions& options,
                                       std::unique_ptr<ProducerTransport> transport)
    : memory_(std::move(memory)),
      shape_(memory_->shape()),
      options_(options),
      transport_(std::move(transport)),
      self_(PackProcess(options.process)) {}

absl::StatusOr<std::unique_ptr<TensorRingProducer>> TensorRingProducer::Open(
    Segment control, const TensorRingShape& shape, const ProducerOptions& options,
    std::unique_ptr<ProducerTransport> transport) {
  if (transport->kind() != shape.transport) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ring: a transport of kind ", static_cast<uint32_t>(transport->kind()),
                     " for a ring of kind ", static_cast<uint32_t>(shape.transport)));
  }
  ProducerOptions named = options;
  if (named.process.pid == 0) {
    RETORT_ASSIGN_OR_RETURN(named.process, OwnProcess());
  }
  RETORT_ASSIGN_OR_RETURN(const uint64_t pid_namespace, OwnPidNamespace());
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<RingMemory> memory,
                          RingMemory::Format(std::move(control), shape));
  std::unique_ptr<TensorRingProducer> ring(
      new TensorRingProducer(std::move(memory), named, std::move(transport)));
  RETORT_RETURN_IF_ERROR(ring->TakeOver(pid_namespace));
  LogInfo("tensor ring opened transport={} slots={} slot_bytes={} epoch={} generation={}",
          shape.transport == TransportKind::kHost ? "host" : "device_ipc", shape.slots,
          shape.slot_bytes, named.epoch, ring->generation_);
  return ring;
}

absl::Status TensorRingProducer::TakeOver(uint64_t pid_namespace) {
  // What lies in device memory ends with its process.
  const bool discard = shape_.transport == TransportKind::kDeviceIpc;
  TakeRing take(self_, options_.epoch, shape_.slots, discard);
  if (RunUntilBlocked(take, *memory_) != Progress::kDone) {
    closed_ = true;
    if (take.outcome() == TakeRing::Outcome::kFenced) return Fenced();
    return absl::AbortedError(absl::StrCat(
        "process ", UnpackProcess(take.previous()).pid, " produces into the ring at this epoch (",
        options_.epoch, ") and lives; end it, or open the ring with a newer epoch"));
  }
  generation_ = take.generation();
  memory_->header().pid_namespace.store(pid_namespace);
  return transport_->Open(*memory_, self_, generation_);
}

absl::Status TensorRingProducer::Fenced() const {
  return absl::AbortedError(absl::StrCat("the ring belongs to a producer of epoch ",
                                         memory_->Load({Word::kEpoch}), "; this one is of epoch ",
                                         options_.epoch));
}

TensorRingProducer::~TensorRingProducer() {
  RETORT_CHECK(open_writes_ == 0) << open_writes_ << " writes outlive their ring";
  const absl::Status status = Close(kCloseWait);
  if (!status.ok()) LogWarning("tensor ring closed badly error=\"{}\"", status.ToString());
}

absl::Status TensorRingProducer::TakeSlot(int slot, absl::Duration wait, uint64_t* turn) {
  ring::TakeSlot take(self_, options_.epoch, slot, shape_.max_consumers);
  const absl::Duration end = Clock::Real()->Now() + wait;
  absl::Status gave_up;
  while (true) {
    const Progress progress = RunUntilBlocked(take, *memory_);
    if (progress == Progress::kDone) break;
    if (progress == Progress::kRefused) return gave_up.ok() ? Fenced() : gave_up;
    const absl::Duration left = end - Clock::Real()->Now();
    if (left > absl::ZeroDuration()) {
      memory_->Sleep(take.counter(), take.seen(), left);
    } else if (take.waits_for_lease() && options_.when_busy == BusyPolicy::kRevoke) {
      take.Revoke();
    } else {
      gave_up = absl::DeadlineExceededError(
          absl::StrCat("slot ", slot, " of the ring was not free within ",
                       absl::FormatDuration(wait), ": process ", UnpackProcess(take.holder()).pid,
                       take.waits_for_lease() ? " reads it and lives"
                                              : ", an older producer, writes it and lives",
                       "; end that process if it hangs"));
      take.GiveUp();
    }
  }
  *turn = take.turn();
  // No write of the payload may become visible before the state: an observer depends on it.
  PayloadFence();
  return absl::OkStatus();
}

absl::StatusOr<SlotWrite> TensorRingProducer::Begin(int64_t sequence, gpu::Stream stream,
                                                    absl::Duration wait) {
  if (sequence < 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor number ", sequence, " is negative"));
  }
  if (closed_) return absl::FailedPreconditionError("the ring's producer is closed");
  const int slot = SlotOf(sequence);
  uint64_t turn = 0;
  RETORT_RETURN_IF_ERROR(TakeSlot(slot, wait, &turn));
  SlotWrite write(this, sequence, turn, transport_->Payload(*memory_, slot), shape_.slot_bytes,
                  stream);
  RETORT_RETURN_IF_ERROR(transport_->BeforeWrite(*memory_, slot, stream));
  return write;
}

absl::Status TensorRingProducer::Write(const TensorHeader& header, const void* from,
                                       gpu::Stream stream, absl::Duration wait) {
  RETORT_RETURN_IF_ERROR(CheckTensorHeader(header, shape_.slot_bytes));
  RETORT_ASSIGN_OR_RETURN(SlotWrite write, Begin(header.sequence, stream, wait));
  RETORT_RETURN_IF_ERROR(transport_->Copy(write.data(), from, header.bytes, stream));
  RETORT_RETURN_IF_ERROR(Failpoint("ring.written"));
  return write.Commit(header);
}

absl::Status TensorRingProducer::CommitSlot(const SlotWrite& write, const TensorHeader& header) {
  RETORT_RETURN_IF_ERROR(CheckTensorHeader(header, shape_.slot_bytes));
  const int slot = SlotOf(write.sequence_);
  RETORT_RETURN_IF_ERROR(transport_->AfterWrite(slot, write.stream_));
  // Only its writer may touch the record: a write that was lost to another producer of this process
  // ends below.
  const uint64_t writing = MakeState(Phase::kWriting, write.turn_);
  if (memory_->Load({Word::kState, slot}) == writing) {
    memory_->slot(slot).record.Store(ToRecord(header, options_.epoch, generation_));
  }
  return EndSlot(write, /*publish=*/true);
}

void TensorRingProducer::AbandonSlot(const SlotWrite& write) {
  // The next write of the slot comes after what this one put into its stream.
  absl::Status status = transport_->AfterWrite(SlotOf(write.sequence_), write.stream_);
  status.Update(EndSlot(write, /*publish=*/false));
  LogInfo("ring slot abandoned sequence={} status=\"{}\"", write.sequence_, status.ToString());
}

absl::Status TensorRingProducer::EndSlot(const SlotWrite& write, bool publish) {
  EndWrite end(options_.epoch, SlotOf(write.sequence_), write.turn_, publish);
  RunUntilBlocked(end, *memory_);
  const bool fenced =
      end.outcome() == EndWrite::Outcome::kFenced || end.outcome() == EndWrite::Outcome::kLost;
  return fenced ? Fenced() : absl::OkStatus();
}

absl::Status TensorRingProducer::Close(absl::Duration wait) {
  if (std::exchange(closed_, true)) return absl::OkStatus();
  // A later producer of this process may have taken the ring over.
  const bool ours = memory_->Load({Word::kGeneration}) == generation_;
  LeaveRing leave(ours ? self_ : 0, generation_, shape_.max_consumers);
  const absl::Duration end = Clock::Real()->Now() + wait;
  while (RunUntilBlocked(leave, *memory_) == Progress::kWaiting) {
    const absl::Duration left = end - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) {
      transport_->Leak();
      return absl::DeadlineExceededError(
          absl::StrCat("process ", UnpackProcess(leave.holder()).pid,
                       " still has the ring's device memory open after ",
                       absl::FormatDuration(wait), "; it stays allocated until this process ends"));
    }
    memory_->Sleep(leave.counter(), leave.seen(), left);
  }
  return transport_->Free();
}

}  // namespace retort::ring
