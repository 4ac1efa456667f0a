// Where the payload of a tensor ring lies, and how its reads and writes are ordered. What belongs
// to the slots, leases and the lives of processes is the ring's (slot_protocol.h), alike for all.
//
//   host     behind the control part of the ring's segment. Writes are ordinary stores, done when
//            Commit is called; streams are null.
//   device   one allocation of the producer's GPU, opened by the other processes of the host
//            through its handle (CUDA IPC). Work is put into streams; events that the processes
//            share order it, so nobody waits for the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gpu/gpu_api.h"
#include "common/ring/tensor_ring_shape.h"

namespace retort::ring {

class RingMemory;  // ring_memory.h: the mapped and validated control segment.

// The producer's side. Not thread-safe. `ring` is the same in every call and outlives it. A process
// is named by its word (PackProcess).
class ProducerTransport {
 public:
  virtual ~ProducerTransport() = default;
  virtual TransportKind kind() const = 0;

  // Allocates the slots and publishes how `generation` is opened. Called once.
  virtual absl::Status Open(RingMemory& ring, uint64_t self, uint64_t generation) = 0;
  virtual std::byte* Payload(RingMemory& ring, int slot) = 0;

  // Makes `stream` wait for earlier writes of the slot, and for what consumers put into their
  // streams before they gave a lease back.
  virtual absl::Status BeforeWrite(RingMemory& ring, int slot, gpu::Stream stream) = 0;
  virtual absl::Status Copy(std::byte* to, const void* from, int64_t bytes, gpu::Stream stream) = 0;
  // Marks in `stream` that the slot is written. Before the slot is published or given up.
  virtual absl::Status AfterWrite(int slot, gpu::Stream stream) = 0;

  // Gives the memory back: no living consumer has it open.
  virtual absl::Status Free() = 0;
  // Leaves it allocated until the process ends: a living consumer has it open.
  virtual void Leak() = 0;
};

// A consumer's side, bound to its entry of the consumer table. Not thread-safe.
class ConsumerTransport {
 public:
  virtual ~ConsumerTransport() = default;
  virtual TransportKind kind() const = 0;

  // Publishes in the entry what a producer waits for before it reuses a slot. Called once.
  virtual absl::Status Attach(RingMemory& ring, int entry, uint64_t self) = 0;

  // The slot's payload of `generation`, for reading. Opens the producer's memory once for each
  // generation. Errors: UNAVAILABLE that generation has ended; FAILED_PRECONDITION the memory
  // cannot be read here, says what to do; DATA_LOSS what is published does not fit the ring.
  virtual absl::StatusOr<const std::byte*> Payload(uint64_t generation, int slot) = 0;

  // Makes `stream` wait until the slot is written.
  virtual absl::Status BeforeRead(int slot, gpu::Stream stream) = 0;
  // Marks in `stream` that the reads are put into it. Before the lease is given back.
  virtual absl::Status AfterRead(gpu::Stream stream) = 0;

  // Whether the payload of `generation` is still what its producer wrote, apart from the slot's
  // state.
  virtual bool IsCurrent(uint64_t generation) = 0;
  // Closes the memory of a generation that has been withdrawn, once the reads that were put into
  // streams are done; waits at most `wait` for them. Called while no lease is out.
  virtual void CloseStale(absl::Duration wait) = 0;
  // Waits at most `wait` for the reads that were put into streams, and closes the memory. After it
  // the entry is given back. DEADLINE_EXCEEDED reads are still under way; the entry must be kept.
  virtual absl::Status Detach(absl::Duration wait) = 0;
};

std::unique_ptr<ProducerTransport> HostProducerTransport();
std::unique_ptr<ConsumerTransport> HostConsumerTransport();

// `api` outlives the transport. `device` is the one that the slots lie on, or that reads them.
std::unique_ptr<ProducerTransport> DeviceProducerTransport(gpu::Api* api, int device);
std::unique_ptr<ConsumerTransport> DeviceConsumerTransport(gpu::Api* api, int device);

}  // namespace retort::ring
