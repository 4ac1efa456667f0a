#include "common/collective/gpu_memory.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/collective/poll_pause.h"
#include "common/tensor/torch_process.h"

namespace retort::collective {

absl::StatusOr<std::shared_ptr<GpuMemory>> GpuMemory::Allocate(gpu::Api* api, Kind kind,
                                                               int64_t bytes) {
  RETORT_ASSIGN_OR_RETURN(
      void* const data, kind == Kind::kDevice ? api->Allocate(bytes) : api->AllocatePinned(bytes));
  return std::shared_ptr<GpuMemory>(new GpuMemory(api, kind, data, bytes));
}

GpuMemory::~GpuMemory() {
  (kind_ == Kind::kDevice ? api_->Free(data_) : api_->FreePinned(data_)).IgnoreError();
}

absl::StatusOr<GpuStream> NewStream(gpu::Api* api) {
  RETORT_ASSIGN_OR_RETURN(const gpu::Stream stream, api->CreateStream());
  return GpuStream(api, stream);
}

absl::StatusOr<GpuEvent> NewEvent(gpu::Api* api) {
  RETORT_ASSIGN_OR_RETURN(const gpu::Event event, api->CreateEvent(/*shared=*/false));
  return GpuEvent(api, event);
}

absl::Status WaitForEvent(gpu::Api* api, gpu::Event event, absl::Duration deadline,
                          absl::Duration spin) {
  const absl::Duration start = Clock::Real()->Now();
  while (true) {
    RETORT_ASSIGN_OR_RETURN(const bool done, api->IsDone(event));
    if (done) return absl::OkStatus();
    const absl::Duration waited = Clock::Real()->Now() - start;
    if (waited > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("the GPU did not end a copy within ", absl::FormatDuration(deadline)));
    }
    PauseBetweenPolls(waited, spin);
  }
}

absl::StatusOr<DeviceBuffers> DeviceBuffers::On(gpu::Api* api, int index) {
  RETORT_ASSIGN_OR_RETURN(
      const at::Device device, tensor::CatchTorch([&]() -> at::Device {
        const at::Device kind(api->torch_device_type());
        // LibTorch tells "cpu", where its own tensors are, from "cpu:0".
        return kind.is_cpu() ? kind : at::Device(kind.type(), static_cast<int8_t>(index));
      }));
  return DeviceBuffers(api, device);
}

absl::StatusOr<at::Tensor> DeviceBuffers::Allocate(int64_t elements, gpu::Stream stream) {
  const int64_t bytes = std::max<int64_t>(elements, 1) * static_cast<int64_t>(sizeof(float));
  RETORT_ASSIGN_OR_RETURN(std::shared_ptr<GpuMemory> memory,
                          GpuMemory::Allocate(api_, GpuMemory::Kind::kDevice, bytes));
  RETORT_RETURN_IF_ERROR(api_->Zero(memory->data(), bytes, stream));
  std::byte* const data = memory->data();
  ranges_.push_back({data, data + bytes});
  return tensor::CatchTorch([&]() -> at::Tensor {
    return at::from_blob(
        data, {elements}, [memory = std::move(memory)](void*) mutable { memory.reset(); },
        at::TensorOptions().dtype(at::kFloat).device(device_), device_);
  });
}

bool DeviceBuffers::Hold(const at::Tensor& tensor) const {
  if (!device_.is_cpu()) return tensor.device() == device_;
  const auto* const data = static_cast<const std::byte*>(tensor.data_ptr());
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return data >= range.begin && data + tensor.nbytes() <= range.end;
  });
}

}  // namespace retort::collective
