#include "common/ring/tensor_ring_observer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/ring/ring_memory.h"
#include "common/ring/slot_protocol.h"

namespace retort::ring {
namespace {

// What the slot held when it was last looked at, for the message of a wait that ends.
struct Seen {
  bool full = false;
  int64_t sequence = 0;
  uint64_t epoch = 0;
};

std::string Describe(const TensorRequest& request, const Seen& seen) {
  if (!seen.full) return "its slot holds nothing";
  return absl::StrCat(
      "its slot holds ", request.noun, " ", seen.sequence, " of epoch ", seen.epoch,
      seen.epoch < request.min_epoch ? absl::StrCat(", wanted epoch ", request.min_epoch) : "");
}

absl::Status Ended(const TensorRequest& request, const Seen& seen) {
  return absl::UnavailableError(absl::StrCat("the ring's producer has ended and did not write ",
                                             request.noun, " ", request.sequence, "; ",
                                             Describe(request, seen), "; wait for its successor"));
}
absl::Status NotInTime(const TensorRequest& request, const Seen& seen) {
  return absl::DeadlineExceededError(
      absl::StrCat(request.noun, " ", request.sequence, " was not in the ring within ",
                   absl::FormatDuration(request.timeout), "; ", Describe(request, seen)));
}

}  // namespace

TensorRingObserver::TensorRingObserver(std::shared_ptr<RingMemory> memory)
    : memory_(std::move(memory)) {}

absl::StatusOr<TensorRingObserver> TensorRingObserver::Open(Segment control,
                                                            absl::Duration timeout) {
  absl::StatusOr<std::unique_ptr<RingMemory>> memory =
      RingMemory::Join(std::move(control), timeout);
  if (!memory.ok()) return memory.status();
  return TensorRingObserver(*std::move(memory));
}

const TensorRingShape& TensorRingObserver::shape() const { return memory_->shape(); }

absl::StatusOr<TensorView> TensorRingObserver::Observe(const TensorRequest& request) const {
  return ObserveWhile(request, [] {});
}

absl::StatusOr<TensorView> TensorRingObserver::ObserveWhile(
    const TensorRequest& request, absl::FunctionRef<void()> on_wake) const {
  if (request.sequence < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.noun, " ", request.sequence, " of a tensor is negative"));
  }
  const int slot = static_cast<int>(request.sequence % shape().slots);
  const absl::Duration end = Clock::Real()->Now() + request.timeout;
  AwaitSlot await(slot, request.await_successor);
  Seen seen;
  while (true) {
    const Progress progress = RunUntilBlocked(await, *memory_);
    if (progress == Progress::kRefused) return Ended(request, seen);
    if (progress == Progress::kWaiting) {
      const absl::Duration left = end - Clock::Real()->Now();
      if (left <= absl::ZeroDuration()) return NotInTime(request, seen);
      memory_->Sleep(await.counter(), await.seen(), left);
      on_wake();
      continue;
    }
    const SlotRecord record = memory_->slot(slot).record.Load();
    if (!StillHas(memory_->Load({Word::kState, slot}), await.turn())) {
      await = AwaitSlot(slot, request.await_successor);  // Taken meanwhile; look at it anew.
      seen = {};
      continue;
    }
    seen = {true, record.sequence, record.epoch};
    if (record.sequence == request.sequence && record.epoch >= request.min_epoch) {
      return ViewOf(slot, await.turn(), record);
    }
    await.Reject();
  }
}

absl::StatusOr<TensorView> TensorRingObserver::ViewOf(int slot, uint64_t turn,
                                                      const SlotRecord& record) const {
  absl::StatusOr<TensorHeader> header = FromRecord(record, shape().slot_bytes);
  if (!header.ok()) return header.status();
  TensorView view;
  view.header = *std::move(header);
  view.slot = slot;
  view.turn = turn;
  view.generation = record.generation;
  if (const std::byte* const payload = memory_->host_payload(slot); payload != nullptr) {
    view.data = absl::MakeConstSpan(payload, static_cast<size_t>(view.header.bytes));
  }
  return view;
}

bool TensorRingObserver::StillHolds(const TensorView& view) const {
  if (view.slot < 0 || view.slot >= shape().slots) return false;
  // The reads of the payload come before the look at the state.
  PayloadFence();
  return StillHas(memory_->Load({Word::kState, view.slot}), view.turn);
}

}  // namespace retort::ring
