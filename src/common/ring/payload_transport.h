// Where the payload of a tensor ring lies, and how its reads and writes are ordered. What belongs
// to the slots, leases and the lives of processes is the ring's (slot_protocol.h), alike for all.
//
//   host     behind the control part of the ring's segment. Writes are ordinary stores, done when
//            Commit is called; streams are null.
//   device   one allocation of the producer's GPU, opened by the other processes of the host
//   through
//            its handle (CUDA IPC). Work is put into streams; events that the processes share order
//            it, so nobody waits for the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gpu/gpu_api.h"

namespace retort::ring {

enum class TransportKind : uint32_t { kHost = 1, kDeviceIpc = 2 };

class RingMemory;  // ring_memory.h: the mapped and validated control segment.

// The producer's side. Not thread-safe. `ring` outlives it and is the same in every call.
class ProducerTransport {
 public:
  virtual ~ProducerTransport() = default;
  virtual TransportKind kind() const = 0;

  // Allocates the slots and publishes how they are opened, for `generation` and not before.
  virtual absl::Status Open(RingMemory& ring, uint64_t generation) = 0;
  virtual std::byte* Payload(RingMemory& ring, int slot) = 0;

  // Makes `stream` wait until consumers are done with what they have released.
  virtual absl::Status BeforeWrite(RingMemory& ring, gpu::Stream stream) = 0;
  virtual absl::Status Copy(std::byte* to, const void* from, int64_t bytes, gpu::Stream stream) = 0;
  // Marks in `stream` that the slot is written. Before the slot is published.
  virtual absl::Status AfterWrite(RingMemory& ring, int slot, gpu::Stream stream) = 0;

  // Withdraws what Open published and frees it when no living consumer has it open. Waits at most
  // `wait`; see TensorRingProducer::Close.
  virtual absl::Status Close(RingMemory& ring, absl::Duration wait) = 0;
};

// A consumer's side, bound to its entry of the consumer table. Not thread-safe.
class ConsumerTransport {
 public:
  virtual ~ConsumerTransport() = default;
  virtual TransportKind kind() const = 0;

  // Publishes in the table what the producer waits for after a release.
  virtual absl::Status Attach(RingMemory& ring, int entry, uint64_t self) = 0;

  // The slot's payload of `generation`, for reading. Opens the producer's memory once for each
  // generation. Errors: UNAVAILABLE that generation has ended; FAILED_PRECONDITION the memory
  // cannot be read here, says what to do.
  virtual absl::StatusOr<const std::byte*> Payload(RingMemory& ring, uint64_t generation,
                                                   int slot) = 0;

  // Makes `stream` wait until the slot is written.
  virtual absl::Status BeforeRead(RingMemory& ring, int slot, gpu::Stream stream) = 0;
  // Marks in `stream` that the reads are put into it. Before the lease is given back.
  virtual absl::Status AfterRead(gpu::Stream stream) = 0;

  // Closes the memory of a generation that has ended. Called while no lease is out.
  virtual void CloseStale(RingMemory& ring) = 0;
  // Waits at most `wait` for the reads that were put into streams, then closes everything.
  virtual absl::Status Detach(RingMemory& ring, absl::Duration wait) = 0;
};

std::unique_ptr<ProducerTransport> HostProducerTransport();
std::unique_ptr<ConsumerTransport> HostConsumerTransport();

// `api` outlives the transport. `device` is the one that the slots lie on, or that reads them.
std::unique_ptr<ProducerTransport> DeviceProducerTransport(gpu::Api* api, int device);
std::unique_ptr<ConsumerTransport> DeviceConsumerTransport(gpu::Api* api, int device);

}  // namespace retort::ring
