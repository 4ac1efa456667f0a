// A plug-in that takes the build "good" and refuses every other.
#include <cstring>

#include "common/gpu/plugin.h"

extern "C" __attribute__((visibility("default"))) const char* retort_gpu_plugin(
    const char* build, retort::gpu::Plugin*) {
  return std::strcmp(build, "good") == 0 ? nullptr : "is of another build";
}
