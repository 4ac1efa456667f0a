// What gpu::LoadPlugin calls in this library.
#include <cstring>

#include "common/cuda/cuda_runtime_api.h"
#include "common/cuda/nccl_runtime.h"
#include "common/gpu/plugin.h"

namespace retort::rpc {
extern const char kSourceDigest[];  // common/rpc/build_version.h
}  // namespace retort::rpc

extern "C" __attribute__((visibility("default"))) const char* retort_gpu_plugin(
    const char* build, retort::gpu::Plugin* plugin) {
  if (std::strstr(build, retort::rpc::kSourceDigest) == nullptr) {
    return "is of another build than this program; install the two together";
  }
  plugin->api = &retort::gpu::CudaApi();
  plugin->nccl = &retort::gpu::NcclRuntime();
  return nullptr;
}
