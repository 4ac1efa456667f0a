// The last versions of the policy's weights in one shared segment: one writer (learner rank 0),
// many readers (rollout workers) that use the weights in place.
//
// It is a tensor ring (tensor_ring.h): version v is tensor number v, its digest and canary are the
// annotation. Nothing stops the writer from reusing a slot, least of all a stopped reader: the ring
// has lag + 2 slots, so a version that an uncommitted step needs is never overwritten, and a reader
// that wants proof asks StillHolds after its work.
//
// In host memory its readers are observers, and the contents survive a writer's death. On a GPU
// (device_weight_reader.h) they lease the slot that they read, which the writer revokes when it
// needs it, and the contents end with the writer. A writer of a newer epoch takes over; one of an
// older epoch is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/ring/segment.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_observer.h"
#include "common/ring/weight_label.h"

namespace retort::ring {

struct WeightRingShape {
  int slots = 2;                  // lag + 2, 2 .. 1024.
  int64_t slot_elements = 0;      // Elements of the published range, >= 1.
  Dtype dtype = Dtype::kFloat32;  // Or bf16, on a GPU.
  TransportKind transport = TransportKind::kHost;

  bool operator==(const WeightRingShape&) const = default;
};

// Size of the segment to open for a ring. The shape must be valid (CHECK).
int64_t WeightRingBytes(const WeightRingShape& shape);

// Not thread-safe.
class WeightRingWriter {
 public:
  WeightRingWriter(WeightRingWriter&&) = default;
  WeightRingWriter& operator=(WeightRingWriter&&) = delete;

  // Formats a new segment; keeps the contents of one that has this shape. `segment` is mapped
  // read-write. `transport` is of the shape's kind; null: the host's. Errors: INVALID_ARGUMENT bad
  // shape, or the segment is not of WeightRingBytes(shape); FAILED_PRECONDITION it holds a ring of
  // another shape or format; ABORTED a newer epoch owns it, or a living process of the same one.
  static absl::StatusOr<WeightRingWriter> Open(
      Segment segment, const WeightRingShape& shape, uint64_t epoch,
      std::unique_ptr<ProducerTransport> transport = nullptr);

  const WeightRingShape& shape() const { return shape_; }

  // Where to write version `version` (>= 0): [slot_elements] of the ring's dtype, 64-byte aligned,
  // contents of an older version; on a GPU, in the order of `stream`. The slot holds nothing until
  // Commit. Errors: ABORTED a newer epoch took over; DEADLINE_EXCEEDED a process of an older epoch
  // lives and was writing this slot.
  absl::StatusOr<std::byte*> BeginBytes(int64_t version, gpu::Stream stream);
  // The same in host memory.
  absl::StatusOr<absl::Span<float>> Begin(int64_t version);

  // Publishes what Begin(version) pointed at and wakes waiting readers. The digest is over the
  // payload's bytes. Errors: FAILED_PRECONDITION without its Begin; INVALID_ARGUMENT canary longer
  // than kMaxCanaryFloats; ABORTED.
  absl::Status Commit(int64_t version, const Digest& digest, absl::Span<const float> canary);

 private:
  WeightRingWriter(std::unique_ptr<TensorRingProducer> ring, const WeightRingShape& shape)
      : ring_(std::move(ring)), shape_(shape) {}

  std::unique_ptr<TensorRingProducer> ring_;
  WeightRingShape shape_;
  int64_t open_version_ = -1;
  std::unique_ptr<SlotWrite> open_;  // After ring_, which outlives it.
};

// A version in place, in host memory. Valid while the reader lives and StillHolds(version) is true.
struct WeightView {
  int64_t version = -1;
  uint64_t epoch = 0;  // Of the writer that published it.
  Digest digest;
  absl::Span<const float> weights;  // [slot_elements]
  std::vector<float> canary;
  TensorView slot;  // Where they are.
};

struct AcquireRequest {
  int64_t version = 0;
  Digest digest;           // What the driver was told at the publication.
  uint64_t min_epoch = 0;  // A version of an older epoch does not count as published.
  absl::Duration timeout;
};

// Thread-safe after Open.
class WeightRingReader {
 public:
  // Waits up to `timeout` for a writer to format the segment (mapped read-only or read-write).
  // Errors: DEADLINE_EXCEEDED no writer came; DATA_LOSS the header does not fit the segment.
  static absl::StatusOr<WeightRingReader> Open(Segment segment, absl::Duration timeout);

  const WeightRingShape& shape() const { return shape_; }

  // Waits until the ring holds the version. Does not read the payload.
  // Errors: DEADLINE_EXCEEDED says what the slot holds instead; DATA_LOSS the digests differ, with
  // both.
  absl::StatusOr<WeightView> Acquire(const AcquireRequest& request) const;

  // True if the slot of `view` has not been touched since Acquire: what was computed from it is of
  // that version.
  bool StillHolds(const WeightView& view) const;

 private:
  WeightRingReader(TensorRingObserver ring, const WeightRingShape& shape)
      : ring_(std::move(ring)), shape_(shape) {}

  TensorRingObserver ring_;
  WeightRingShape shape_;
};

}  // namespace retort::ring
