// retort-gpu-test: the tests that need a GPU, and with a role as first word one of their child
// processes. Without a GPU it says so and is done, or fails where RETORT_NEED_GPU is set.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/gpu/nccl_environment.h"
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"
#include "gpu/gpu_children.h"
#include "gpu/gpu_environment.h"

int main(int argc, char** argv) {
  using retort::gpu::TestGpu;
  using retort::gpu::WhyNoGpu;
  retort::gpu::SetNcclEnvironment();
  if (TestGpu() == nullptr) {
    std::printf("skipped: no CUDA device: %s\n", WhyNoGpu().c_str());
    return std::getenv("RETORT_NEED_GPU") == nullptr ? 0 : 2;
  }
  retort::tensor::ConfigureTorchProcess(1);
  if (argc > 1 && std::strcmp(argv[1], "ring-producer") == 0) {
    return retort::gpu::RingProducerMain(argc - 2, argv + 2);
  }
  if (argc > 1 && std::strcmp(argv[1], "nccl-rank") == 0) {
    return retort::gpu::NcclRankMain(argc - 2, argv + 2);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
