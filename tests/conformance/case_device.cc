#include "conformance/case_device.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/gpu/plugin.h"
#include "common/tensor/torch_process.h"

namespace retort::conformance {

absl::StatusOr<at::Device> LoadDevice(const std::string& name, absl::string_view directory,
                                      absl::string_view build) {
  const absl::StatusOr<at::Device> device = tensor::CatchTorch([&] { return at::Device(name); });
  if (!device.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("LibTorch knows no device \"", name, "\"; expected cpu, or cuda[:INDEX]"));
  }
  if (device->is_cpu()) return at::Device(at::kCPU);
  RETORT_ASSIGN_OR_RETURN(const gpu::Plugin plugin, gpu::LoadPlugin(directory, build));
  const std::string kind = plugin.api->torch_device_type();
  if (at::Device(kind).type() != device->type()) {
    return absl::InvalidArgumentError(absl::StrCat("the GPU plug-in is for \"", kind, "\""));
  }
  const int index = device->has_index() ? device->index() : 0;
  RETORT_RETURN_IF_ERROR(plugin.api->SetDevice(index));
  return at::Device(device->type(), static_cast<at::DeviceIndex>(index));
}

}  // namespace retort::conformance
