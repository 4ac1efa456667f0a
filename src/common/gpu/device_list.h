// The GPUs of this host as another process sees them: the driver, which loads no Torch, asks
// `retort-worker devices --json`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gpu/gpu_api.h"

namespace retort::gpu {

// What `retort-worker devices --json` prints and ParseDeviceList reads.
std::string DeviceListJson(const std::vector<DeviceInfo>& devices);
// INVALID_ARGUMENT if `text` is anything else.
absl::StatusOr<std::vector<DeviceInfo>> ParseDeviceList(absl::string_view text);

// Starts `worker_program devices --json` and reads what it says; empty: there is none. Errors:
// NOT_FOUND no plug-in or no program; FAILED_PRECONDITION the program's own line when the plug-in
// cannot be loaded; DEADLINE_EXCEEDED it did not answer within a minute.
absl::StatusOr<std::vector<DeviceInfo>> AskForDevices(const std::string& worker_program);

}  // namespace retort::gpu
