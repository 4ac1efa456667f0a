// A consumer of a tensor ring: it reads slots under leases that the producer respects.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/process_identity.h"
#include "common/gpu/gpu_api.h"
#include "common/ring/payload_transport.h"
#include "common/ring/segment.h"
#include "common/ring/tensor_header.h"
#include "common/ring/tensor_ring.h"
#include "common/ring/tensor_ring_observer.h"

namespace retort::ring {

struct ConsumerOptions {
  ProcessIdentity process;  // Who consumes; pid 0: the calling process.
};

class TensorRingConsumer;

// A consumer's claim on one slot; destroyed, it is released on the stream it was acquired on. The
// consumer outlives it. Not thread-safe.
class TensorLease {
 public:
  TensorLease(TensorLease&& other) noexcept;
  TensorLease& operator=(TensorLease&&) = delete;
  ~TensorLease();

  const TensorHeader& header() const { return header_; }
  // [header().bytes]; device memory for a device ring, readable in the stream of Acquire.
  absl::Span<const std::byte> data() const { return data_; }

  // False once the slot was revoked or, on a device, its generation ended: what was computed from
  // it is void. Ask after the work, on a device when the stream is done with it.
  bool StillHolds() const;

  // Gives the slot back once what `stream` was given to do so far is done; by a device ring's
  // event, without waiting. Errors: those of the transport; the lease is given back all the same.
  absl::Status Release(gpu::Stream stream);

 private:
  friend class TensorRingConsumer;
  TensorLease(TensorRingConsumer* ring, const TensorView& view, gpu::Stream stream);

  TensorRingConsumer* ring_;
  TensorHeader header_;
  absl::Span<const std::byte> data_;
  int slot_;
  uint64_t turn_;
  uint64_t generation_;
  gpu::Stream stream_;
};

// Not thread-safe; one for each thread that reads.
class TensorRingConsumer {
 public:
  // Waits up to `timeout` for a producer to format `control` (mapped read-write), then takes an
  // entry of the consumer table. Errors: DEADLINE_EXCEEDED no producer came; DATA_LOSS the header
  // does not fit the segment; INVALID_ARGUMENT a transport of another kind than the ring's;
  // RESOURCE_EXHAUSTED max_consumers are attached; FAILED_PRECONDITION another PID namespace;
  // those of the transport.
  static absl::StatusOr<std::unique_ptr<TensorRingConsumer>> Open(
      Segment control, const ConsumerOptions& options, std::unique_ptr<ConsumerTransport> transport,
      absl::Duration timeout);

  // Every lease has been released (CHECK). Waits for its reads on the device.
  ~TensorRingConsumer();
  TensorRingConsumer(const TensorRingConsumer&) = delete;
  TensorRingConsumer& operator=(const TensorRingConsumer&) = delete;

  // Waits until the ring holds request.sequence and leases its slot. Reads on `stream` come after
  // the producer's writes. A slot is leased once at a time.
  // Errors: DEADLINE_EXCEEDED says what the slot holds instead; UNAVAILABLE the producer has ended
  // (unless request.await_successor); DATA_LOSS the slot's header does not fit the ring;
  // FAILED_PRECONDITION this consumer leases the slot already, or leases of an ended generation are
  // out; those of the transport.
  absl::StatusOr<TensorLease> Acquire(const TensorRequest& request, gpu::Stream stream);

  const TensorRingShape& shape() const { return observer_.shape(); }
  int leases() const { return leases_; }

 private:
  friend class TensorLease;
  TensorRingConsumer(TensorRingObserver observer, uint64_t self,
                     std::unique_ptr<ConsumerTransport> transport);
  absl::Status AttachEntry();
  absl::StatusOr<TensorLease> TryAcquire(const TensorRequest& request, gpu::Stream stream);
  absl::StatusOr<TensorView> Lease(const TensorRequest& request);
  absl::Status Prepare(TensorView& view, gpu::Stream stream);
  absl::Status Release(int slot, gpu::Stream stream);
  bool StillHolds(const TensorLease& lease) const;
  void GiveBack(int slot);
  void CloseStale(absl::Duration wait);

  const TensorRingObserver observer_;
  const uint64_t self_;
  const std::unique_ptr<ConsumerTransport> transport_;
  int entry_ = -1;
  int leases_ = 0;
};

}  // namespace retort::ring
