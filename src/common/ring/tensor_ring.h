// Tensors from one producer to many consumers of one host, in slots that are allocated once: the
// producer writes tensor number `sequence` into slot `sequence mod slots`, consumers read it there,
// without a copy.
//
//   control segment   [ring header | consumer table | slots | leases], from the FdBroker
//   payload           behind it in the same segment, or in device memory: payload_transport.h
//
// A consumer holds a lease on the slot that it reads (tensor_ring_consumer.h), and the producer
// does not write a slot that is leased. The lease of a killed process is void. What happens when a
// living consumer keeps its lease for too long is the producer's BusyPolicy. An observer
// (tensor_ring_observer.h) reads without a lease and asks afterwards whether what it read was
// whole.
//
// A producer's death ends its generation: who waits for it gets UNAVAILABLE. A producer of the same
// or a newer epoch takes over; an older one is refused. What host memory holds survives a
// take-over, device memory ends with its process. slot_protocol.h has the rules between the
// processes.
//
// Processes that share a ring share the network and the PID namespace (hostNetwork and hostPID, or
// one container).
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/process_identity.h"
#include "common/gpu/gpu_api.h"
#include "common/ring/payload_transport.h"
#include "common/ring/segment.h"
#include "common/ring/tensor_header.h"
#include "common/ring/tensor_ring_shape.h"

namespace retort::ring {

// What Begin does when its wait has passed and a living consumer still leases the slot.
enum class BusyPolicy {
  kFail,    // The old tensor stays; DEADLINE_EXCEEDED names the consumer.
  kRevoke,  // The slot is taken: the consumer's StillHolds turns false.
};

struct ProducerOptions {
  uint64_t epoch = 0;
  BusyPolicy when_busy = BusyPolicy::kFail;
  ProcessIdentity process;  // Who produces; pid 0: the calling process.
};

class TensorRingProducer;

// A slot that is being written; destroyed without Commit, it holds nothing. The ring outlives it.
// Not thread-safe.
class SlotWrite {
 public:
  SlotWrite(SlotWrite&& other) noexcept;
  SlotWrite& operator=(SlotWrite&&) = delete;
  ~SlotWrite();

  std::byte* data() const { return data_; }  // [slot_bytes]; device memory for a device ring.
  int64_t capacity() const { return capacity_; }

  // Publishes what the stream of Begin has been given to write, and wakes who waits for it; the
  // payload need not be there yet on the device. `header.sequence` is that of Begin.
  // Errors: INVALID_ARGUMENT bad header; FAILED_PRECONDITION committed before, another sequence;
  // ABORTED a newer epoch took over: the slot then holds nothing; those of the transport.
  absl::Status Commit(const TensorHeader& header);

 private:
  friend class TensorRingProducer;
  SlotWrite(TensorRingProducer* ring, int64_t sequence, uint64_t turn, std::byte* data,
            int64_t capacity, gpu::Stream stream);
  void Detach();

  TensorRingProducer* ring_;  // Null once the write has ended.
  int64_t sequence_;
  uint64_t turn_;
  std::byte* data_;
  int64_t capacity_;
  gpu::Stream stream_;
};

// Not thread-safe.
class TensorRingProducer {
 public:
  // Formats a new segment, or takes over one that has this shape. `control` is mapped read-write
  // and of TensorRingBytes(shape). Allocates the payload, once.
  // Errors: INVALID_ARGUMENT bad shape, another size, or a transport of another kind than the
  // shape's; FAILED_PRECONDITION the segment holds a ring of another shape or format; ABORTED a
  // newer epoch owns it, or a living process has the same one; those of the transport.
  static absl::StatusOr<std::unique_ptr<TensorRingProducer>> Open(
      Segment control, const TensorRingShape& shape, const ProducerOptions& options,
      std::unique_ptr<ProducerTransport> transport);

  // As Close(kCloseWait) if it was not called; what that says is logged. No write is open (CHECK).
  ~TensorRingProducer();
  TensorRingProducer(const TensorRingProducer&) = delete;
  TensorRingProducer& operator=(const TensorRingProducer&) = delete;

  // Takes the slot of `sequence` for writing on `stream` (null for a host ring), once no living
  // consumer leases it; waits at most `wait` for that, and then does what the BusyPolicy says.
  // The slot's old tensor is gone then, and after an error of the transport.
  // Errors: INVALID_ARGUMENT negative sequence; FAILED_PRECONDITION after Close; DEADLINE_EXCEEDED
  // names the process that holds the slot; ABORTED a newer epoch took over; those of the transport.
  absl::StatusOr<SlotWrite> Begin(int64_t sequence, gpu::Stream stream, absl::Duration wait);

  // Begin, a copy of header.bytes from `from` (host or device memory), Commit.
  absl::Status Write(const TensorHeader& header, const void* from, gpu::Stream stream,
                     absl::Duration wait);

  // Ends the generation: consumers get UNAVAILABLE, and what nobody has read from device memory is
  // lost. Frees that once every living consumer has closed it, which it does when it next waits or
  // acquires. DEADLINE_EXCEEDED names one that has not within `wait`: the memory then stays
  // allocated until the process ends, for freeing it would be undefined.
  absl::Status Close(absl::Duration wait);

  const TensorRingShape& shape() const { return shape_; }
  uint64_t generation() const { return generation_; }

 private:
  friend class SlotWrite;
  TensorRingProducer(std::unique_ptr<RingMemory> memory, const ProducerOptions& options,
                     std::unique_ptr<ProducerTransport> transport);
  absl::Status TakeOver(uint64_t pid_namespace);
  absl::Status Fenced() const;
  absl::Status TakeSlot(int slot, absl::Duration wait, uint64_t* turn);
  absl::Status CommitSlot(const SlotWrite& write, const TensorHeader& header);
  void AbandonSlot(const SlotWrite& write);
  absl::Status EndSlot(const SlotWrite& write, bool publish);
  int SlotOf(int64_t sequence) const { return static_cast<int>(sequence % shape_.slots); }

  const std::unique_ptr<RingMemory> memory_;
  const TensorRingShape shape_;
  const ProducerOptions options_;
  const std::unique_ptr<ProducerTransport> transport_;
  uint64_t self_ = 0;  // options_.process in one word.
  uint64_t generation_ = 0;
  bool closed_ = false;
  int open_writes_ = 0;
};

inline constexpr absl::Duration kCloseWait = absl::Seconds(10);

}  // namespace retort::ring
