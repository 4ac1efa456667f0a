// Finds and loads the GPU plug-in, the one library that links CUDA, NCCL and LibTorch's CUDA part:
// programs without it start and run everything on the CPU. No Torch here.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/gpu/gpu_api.h"
#include "common/gpu/nccl_api.h"

namespace retort::gpu {

inline constexpr absl::string_view kPluginFile = "libretort_cuda.so";

// What the plug-in hands over; both live as long as the process.
struct Plugin {
  Api* api = nullptr;
  NcclApi* nccl = nullptr;
};

// The one symbol of the plug-in. Fills `plugin`; returns null, or why it cannot work here (a static
// text). `build` is rpc::BuildVersion() of the program, which names the digest of its sources: the
// two share C++ interfaces, so another build's is refused.
using PluginEntry = const char* (*)(const char* build, Plugin* plugin);
inline constexpr char kPluginEntry[] = "retort_gpu_plugin";

// Where the plug-in is: $RETORT_GPU_PLUGIN if set (an absolute path), else beside the executable,
// else in ../lib. NOT_FOUND says where it looked.
absl::StatusOr<std::string> FindPlugin(absl::string_view executable_directory);

// Loads it, once per process, before anything else touches ATen: LibTorch's CUDA part registers its
// kernels as it is loaded. Later calls return what the first one did. Errors: NOT_FOUND;
// FAILED_PRECONDITION a library that it needs is missing (with the loader's text), or it is of
// another build.
absl::StatusOr<Plugin> LoadPlugin(absl::string_view executable_directory, absl::string_view build);

}  // namespace retort::gpu
