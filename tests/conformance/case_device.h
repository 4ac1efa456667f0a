// The device that --device names.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tensor/aten.h"

namespace retort::conformance {

// "cpu", or NAME[:INDEX] of the GPU plug-in, which is loaded then and told to use it (index 0
// unless given). `build`: rpc::BuildVersion() of the program. Errors: INVALID_ARGUMENT LibTorch
// knows no such name, or the plug-in is of another kind of device; those of gpu::LoadPlugin; those
// of gpu::Api::SetDevice.
absl::StatusOr<at::Device> LoadDevice(const std::string& name, absl::string_view directory,
                                      absl::string_view build);

}  // namespace retort::conformance
