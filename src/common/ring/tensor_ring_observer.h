// Reads a tensor ring without a lease, from a mapping that may be read-only: the producer never
// waits for an observer, which asks after its work whether the slot was still whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/ring/segment.h"
#include "common/ring/tensor_header.h"
#include "common/ring/tensor_ring_shape.h"

namespace retort::ring {

struct TensorRequest {
  int64_t sequence = 0;
  uint64_t min_epoch = 0;  // A tensor of an older epoch does not count as written.
  absl::Duration timeout;
  // Goes on waiting when the producer has ended: another one is to come.
  bool await_successor = false;
  absl::string_view noun = "tensor";  // What messages call it.
};

// A tensor in place.
struct TensorView {
  TensorHeader header;
  absl::Span<const std::byte> data;  // [header.bytes]; empty for a device ring.
  int slot = -1;
  uint64_t turn = 0;        // Counts the uses of the slot.
  uint64_t generation = 0;  // Of the producer that wrote it.
};

class RingMemory;  // ring_memory.h
struct SlotRecord;

// Thread-safe after Open.
class TensorRingObserver {
 public:
  // Waits up to `timeout` for a producer to format the segment (mapped read-only or read-write).
  // Errors: DEADLINE_EXCEEDED no producer came; DATA_LOSS the header does not fit the segment.
  static absl::StatusOr<TensorRingObserver> Open(Segment control, absl::Duration timeout);

  const TensorRingShape& shape() const;

  // Waits until the ring holds the tensor. Does not read the payload. Errors: DEADLINE_EXCEEDED
  // says what the slot holds instead; UNAVAILABLE the producer has ended and the ring does not hold
  // it; DATA_LOSS the slot's header does not fit the ring.
  absl::StatusOr<TensorView> Observe(const TensorRequest& request) const;

  // True if the slot of `view` has not been touched since Observe: what was computed from it is of
  // that tensor.
  bool StillHolds(const TensorView& view) const;

 private:
  friend class TensorRingConsumer;
  explicit TensorRingObserver(std::shared_ptr<RingMemory> memory);
  // Observe, with a call after each time it slept.
  absl::StatusOr<TensorView> ObserveWhile(const TensorRequest& request,
                                          absl::FunctionRef<void()> on_wake) const;
  absl::StatusOr<TensorView> ViewOf(int slot, uint64_t turn, const SlotRecord& record) const;

  std::shared_ptr<RingMemory> memory_;
};

}  // namespace retort::ring
