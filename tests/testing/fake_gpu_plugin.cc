// A GPU plug-in without a GPU, for whole runs: the run-time is a FakeGpu, whose memory other
// processes open as CUDA IPC lets them, and tensors lie on the pretended device of LibTorch, which
// refuses what a GPU refuses. NCCL is between threads only, so ranks of these runs reduce over shm.
// RETORT_GPU_PLUGIN names it.
#include "common/gpu/plugin.h"
#include "testing/fake_gpu.h"
#include "testing/fake_nccl.h"

extern "C" __attribute__((visibility("default"))) const char* retort_gpu_plugin(
    const char*, retort::gpu::Plugin* plugin) {
  static auto* const gpu = new retort::gpu::FakeGpu;
  static auto* const nccl = new retort::gpu::FakeNccl(new retort::gpu::FakeNcclNetwork, gpu);
  plugin->api = gpu;
  plugin->nccl = nccl;
  return nullptr;
}
