#include "worker/tools/devices_command.h"

#include <vector>

#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/base/write_output.h"
#include "common/gpu/device_list.h"
#include "common/gpu/plugin.h"

namespace retort::worker {
namespace {

std::string Table(const std::vector<gpu::DeviceInfo>& devices, absl::string_view nccl) {
  if (devices.empty()) return "no CUDA device; jobs run with device: cpu\n";
  std::string text;
  for (const gpu::DeviceInfo& device : devices) {
    absl::StrAppendFormat(&text, "%d  %s  %.1f GiB  %s\n", device.index, device.name,
                          static_cast<double>(device.memory_bytes) / (int64_t{1} << 30),
                          device.uuid);
  }
  absl::StrAppendFormat(&text, "NCCL %s\n", std::string(nccl));
  return text;
}

}  // namespace

absl::Status DevicesCommand(const DevicesOptions& options, absl::string_view executable_directory,
                            absl::string_view build, std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const gpu::Plugin plugin, gpu::LoadPlugin(executable_directory, build));
  RETORT_ASSIGN_OR_RETURN(const std::vector<gpu::DeviceInfo> devices, plugin.api->Devices());
  if (options.json) return WriteOutput(gpu::DeviceListJson(devices) + "\n", out);
  return WriteOutput(Table(devices, plugin.nccl->version()), out);
}

}  // namespace retort::worker
