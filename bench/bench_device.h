// Where a benchmark computes: the CPU, or a GPU that the plug-in beside the programs gives.
#pragma once

#include <optional>
#include <string>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/rpc/build_version.h"
#include "common/tensor/gpu_device.h"
#include "common/tensor/torch_process.h"

namespace retort::bench {

struct BenchDevice {
  std::optional<tensor::GpuDevice> gpu;
  at::Device device = at::kCPU;

  // After this everything that was asked of the device has been done.
  void Synchronize(const at::Tensor& any) const {
    if (gpu.has_value()) any.narrow(0, 0, 1).cpu();
  }
};

// `name`: "cpu" or "cuda". Ends the program with a message if it cannot be had.
inline BenchDevice OpenBenchDevice(const std::string& name, int threads) {
  BenchDevice opened;
  if (name != "cpu") {
    RETORT_CHECK(name == "cuda") << "--device=" << name << "; expected cpu or cuda";
    absl::StatusOr<tensor::GpuDevice> gpu =
        tensor::OpenGpu(ExecutableDirectory(), rpc::kSourceDigest, /*worker=*/0);
    if (!gpu.ok()) {
      std::fprintf(stderr, "%s\n", std::string(gpu.status().message()).c_str());
      std::exit(2);
    }
    opened.gpu = *std::move(gpu);
    opened.device = opened.gpu->device;
  }
  tensor::ConfigureTorchProcess(threads);
  return opened;
}

}  // namespace retort::bench
