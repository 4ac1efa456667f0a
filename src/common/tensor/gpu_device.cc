#include "common/tensor/gpu_device.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::tensor {

absl::StatusOr<GpuDevice> OpenGpu(absl::string_view executable_directory, absl::string_view build,
                                  int worker) {
  GpuDevice gpu;
  RETORT_ASSIGN_OR_RETURN(gpu.plugin, gpu::LoadPlugin(executable_directory, build));
  RETORT_ASSIGN_OR_RETURN(const std::vector<gpu::DeviceInfo> devices, gpu.plugin.api->Devices());
  if (devices.empty()) {
    return absl::FailedPreconditionError(
        "this host has no CUDA device that the process may use (nvidia-smi lists them; "
        "CUDA_VISIBLE_DEVICES hides them); expected one, or device: cpu");
  }
  gpu.device_count = static_cast<int>(devices.size());
  gpu.info = devices[static_cast<size_t>(worker) % devices.size()];
  RETORT_RETURN_IF_ERROR(gpu.plugin.api->SetDevice(gpu.info.index));
  RETORT_RETURN_IF_ERROR(CatchTorch([&] {
    gpu.device = at::Device(absl::StrCat(gpu.plugin.api->torch_device_type(), ":", gpu.info.index));
  }));
  return gpu;
}

}  // namespace retort::tensor
