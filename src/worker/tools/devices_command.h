// `retort devices`: the GPUs that workers of this host can compute on.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort::worker {

struct DevicesOptions {
  bool json = false;  // As gpu::DeviceListJson, on one line.
};

// Loads the GPU plug-in of the programs in `executable_directory` and lists the devices. No device
// is an empty list with `json`, a line that says so without. Errors: those of gpu::LoadPlugin.
absl::Status DevicesCommand(const DevicesOptions& options, absl::string_view executable_directory,
                            absl::string_view build, std::ostream& out);

}  // namespace retort::worker
