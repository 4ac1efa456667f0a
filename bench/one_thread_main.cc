// The main of the benchmarks that measure one thread of LibTorch's.
#include <benchmark/benchmark.h>

#include "common/tensor/torch_process.h"

int main(int argc, char** argv) {
  retort::tensor::ConfigureTorchProcess(1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
