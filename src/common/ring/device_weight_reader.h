// Reads the weight ring of a GPU in place: the memory that the learner wrote, through CUDA IPC. In
// the learner's own process it is the learner's pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/gpu/gpu_api.h"
#include "common/ring/segment.h"
#include "common/ring/tensor_ring_consumer.h"
#include "common/ring/weight_ring.h"

namespace retort::ring {

// A version in place, leased. Destroyed, it gives the slot back in the order of its stream. The
// reader outlives it. Not thread-safe.
struct DeviceWeights {
  int64_t version = -1;
  uint64_t epoch = 0;  // Of the writer that published it.
  Digest digest;
  std::vector<float> canary;
  const std::byte* data = nullptr;  // [slot_elements] of the ring's dtype, device memory.
  std::unique_ptr<TensorLease> lease;

  // False once the writer took the slot or has ended: what was computed from it is void. Ask when
  // the stream is done with it.
  bool StillHolds() const { return lease->StillHolds(); }
};

// Not thread-safe.
class DeviceWeightReader {
 public:
  // `segment` is mapped read-write; `device` of `api` reads. Waits up to `timeout` for a writer.
  // Errors: DEADLINE_EXCEEDED no writer came; DATA_LOSS the header does not fit the segment, or is
  // of no weight ring on a GPU; RESOURCE_EXHAUSTED too many readers; FAILED_PRECONDITION another
  // PID namespace.
  static absl::StatusOr<DeviceWeightReader> Open(Segment segment, gpu::Api* api, int device,
                                                 absl::Duration timeout);

  // As WeightRingReader::Acquire, for reading on `stream`; also FAILED_PRECONDITION the memory
  // cannot be read from this device, and says what to do. Give back the version that is held first:
  // a slot is leased once at a time.
  absl::StatusOr<DeviceWeights> Acquire(const AcquireRequest& request, gpu::Stream stream);

 private:
  explicit DeviceWeightReader(std::unique_ptr<TensorRingConsumer> ring) : ring_(std::move(ring)) {}

  std::unique_ptr<TensorRingConsumer> ring_;
};

}  // namespace retort::ring
