// The calls of a GPU's run-time that Retort makes, one function for each and nothing on top, so
// that what is built on them (device memory, the ring between processes, the NCCL collective) is
// tested against fakes. The CUDA plug-in (cuda/) implements it with the CUDA run-time API.
//
// Errors of every call: RESOURCE_EXHAUSTED out of device memory; INVALID_ARGUMENT what the run-time
// says of the arguments, which leaves the device usable; INTERNAL anything else, with the
// run-time's name for it: the process's context must then be taken for lost and the process end.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::gpu {

using Stream = void*;  // cudaStream_t; null is the default stream.
using Event = void*;   // cudaEvent_t

struct DeviceInfo {
  int index = 0;
  std::string name;  // "NVIDIA H200"
  std::string uuid;  // "GPU-...": the same device has the same one in every process.
  int64_t memory_bytes = 0;
};

// What another process of the host opens the memory or the event with. Plain bytes, no pointer.
struct MemoryHandle {
  std::array<char, 64> bytes{};
  bool operator==(const MemoryHandle&) const = default;
};
struct EventHandle {
  std::array<char, 64> bytes{};
  bool operator==(const EventHandle&) const = default;
};

// Thread-safe but for SetDevice, which is of the calling thread.
class Api {
 public:
  virtual ~Api() = default;

  // LibTorch's name of the kind of device: "cuda".
  virtual std::string torch_device_type() const = 0;

  // Those that the process may use; none is no error.
  virtual absl::StatusOr<std::vector<DeviceInfo>> Devices() = 0;
  virtual absl::Status SetDevice(int index) = 0;

  // Memory of its own, 2 MiB-aligned, so that one MemoryHandle covers all of it and nothing else;
  // contents unspecified. Null is refused by neither Free nor FreePinned.
  virtual absl::StatusOr<void*> Allocate(int64_t bytes) = 0;
  virtual absl::Status Free(void* memory) = 0;
  // Host memory that copies to and from the device do not stage.
  virtual absl::StatusOr<void*> AllocatePinned(int64_t bytes) = 0;
  virtual absl::Status FreePinned(void* memory) = 0;

  // The stream that LibTorch computes on in the calling thread.
  virtual Stream CurrentStream() = 0;
  virtual absl::StatusOr<Stream> CreateStream() = 0;
  virtual absl::Status DestroyStream(Stream stream) = 0;
  // In the stream's order. `to` and `from` are device or host memory of any kind.
  virtual absl::Status Copy(void* to, const void* from, int64_t bytes, Stream stream) = 0;
  virtual absl::Status Zero(void* to, int64_t bytes, Stream stream) = 0;

  // Events have no timing. `shared`: other processes may open it.
  virtual absl::StatusOr<Event> CreateEvent(bool shared) = 0;
  virtual absl::Status DestroyEvent(Event event) = 0;
  virtual absl::Status Record(Event event, Stream stream) = 0;
  // What is put into the stream later waits for the event's last Record; none is no wait.
  virtual absl::Status StreamWait(Stream stream, Event event) = 0;
  // Whether all work before the event's last Record is done. Never blocks.
  virtual absl::StatusOr<bool> IsDone(Event event) = 0;

  // `memory` came from Allocate of this process; the handle must not be opened in this process.
  // Free before every other process has closed it is undefined behaviour.
  virtual absl::StatusOr<MemoryHandle> Export(void* memory) = 0;
  virtual absl::StatusOr<void*> OpenMemory(const MemoryHandle& handle) = 0;
  virtual absl::Status CloseMemory(void* memory) = 0;
  virtual absl::StatusOr<EventHandle> ExportEvent(Event event) = 0;  // Of a `shared` event.
  virtual absl::StatusOr<Event> OpenEvent(const EventHandle& handle) = 0;
  // Whether `device` of this process can read memory of the device named `uuid` in place: the same
  // one, or a peer. NOT_FOUND if this process does not see that device.
  virtual absl::StatusOr<bool> CanRead(int device, const std::string& uuid) = 0;
};

}  // namespace retort::gpu
