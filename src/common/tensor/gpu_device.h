// The GPU that a process computes on, as LibTorch and as gpu::Api see it.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gpu/plugin.h"
#include "common/tensor/aten.h"

namespace retort::tensor {

struct GpuDevice {
  gpu::Plugin plugin;
  gpu::DeviceInfo info;
  int device_count = 0;          // That this process sees.
  at::Device device = at::kCPU;  // For tensors.
};

// Loads the plug-in of the programs in `executable_directory` and makes one of this host's devices
// the calling thread's: number `worker` modulo how many there are. Call it before any other ATen
// call. Errors: those of gpu::LoadPlugin; FAILED_PRECONDITION there is no device.
absl::StatusOr<GpuDevice> OpenGpu(absl::string_view executable_directory, absl::string_view build,
                                  int worker);

// Where tensors of a process go whose GPU, if any, is `gpu`.
inline at::Device DeviceOf(const GpuDevice* gpu) { return gpu == nullptr ? at::kCPU : gpu->device; }

}  // namespace retort::tensor
