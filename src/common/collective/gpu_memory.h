// What collectives hold of a GPU, given back on destruction: memory, streams, events, and the
// buffers that become tensors. Internal to collective/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/gpu/gpu_api.h"
#include "common/tensor/aten.h"

namespace retort::collective {

// Memory of the GPU, or of the host that the GPU copies to and from without staging. Nothing that
// is under way may use it when it goes.
class GpuMemory {
 public:
  enum class Kind { kDevice, kPinned };

  static absl::StatusOr<std::shared_ptr<GpuMemory>> Allocate(gpu::Api* api, Kind kind,
                                                             int64_t bytes);
  ~GpuMemory();
  GpuMemory(const GpuMemory&) = delete;
  GpuMemory& operator=(const GpuMemory&) = delete;

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  GpuMemory(gpu::Api* api, Kind kind, void* data, int64_t bytes)
      : api_(api), kind_(kind), data_(static_cast<std::byte*>(data)), bytes_(bytes) {}

  gpu::Api* const api_;
  const Kind kind_;
  std::byte* const data_;
  const int64_t bytes_;
};

// A stream or an event.
template <typename Handle, absl::Status (gpu::Api::*Destroy)(Handle)>
class GpuHandle {
 public:
  GpuHandle() = default;
  GpuHandle(gpu::Api* api, Handle handle) : api_(api), handle_(handle) {}
  GpuHandle(GpuHandle&& other) noexcept
      : api_(std::exchange(other.api_, nullptr)), handle_(other.handle_) {}
  GpuHandle& operator=(GpuHandle&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~GpuHandle() {
    if (api_ != nullptr) (api_->*Destroy)(handle_).IgnoreError();
  }

  Handle get() const { return handle_; }

 private:
  gpu::Api* api_ = nullptr;
  Handle handle_ = {};
};
using GpuStream = GpuHandle<gpu::Stream, &gpu::Api::DestroyStream>;
using GpuEvent = GpuHandle<gpu::Event, &gpu::Api::DestroyEvent>;
absl::StatusOr<GpuStream> NewStream(gpu::Api* api);
absl::StatusOr<GpuEvent> NewEvent(gpu::Api* api);

// Polls until all work before the event's record is done. DEADLINE_EXCEEDED after `deadline`.
absl::Status WaitForEvent(gpu::Api* api, gpu::Event event, absl::Duration deadline,
                          absl::Duration spin);

// Tensors over device memory of their own, and which tensors a backend finds on its device. Not
// thread-safe.
class DeviceBuffers {
 public:
  // Device `index` of `api`'s kind. INVALID_ARGUMENT: LibTorch has no such device.
  static absl::StatusOr<DeviceBuffers> On(gpu::Api* api, int index);

  // Zero-filled fp32 [elements], in the order of `stream`. RESOURCE_EXHAUSTED says how much.
  absl::StatusOr<at::Tensor> Allocate(int64_t elements, gpu::Stream stream);

  bool Hold(const at::Tensor& tensor) const;

 private:
  DeviceBuffers(gpu::Api* api, at::Device device) : api_(api), device_(device) {}

  struct Range {
    const std::byte* begin;
    const std::byte* end;
  };

  gpu::Api* api_;
  at::Device device_;
  // Looked at where LibTorch takes the device for the CPU, which only a fake run-time's is: there
  // the buffers alone are on it.
  std::vector<Range> ranges_;
};

}  // namespace retort::collective
