// The GPU of the machine for tests that need a real one. Without one they skip and say so, or fail
// where RETORT_NEED_GPU is set.
#pragma once

#include "common/tensor/gpu_device.h"
#include "gtest/gtest.h"

namespace retort::gpu {

// Null without a plug-in or a device; opened once. WhyNoGpu says why.
const tensor::GpuDevice* TestGpu();
const std::string& WhyNoGpu();

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (TestGpu() == nullptr) GTEST_SKIP() << "skipped: no CUDA device: " << WhyNoGpu();
  }
  static const tensor::GpuDevice& gpu() { return *TestGpu(); }
  static Api& api() { return *gpu().plugin.api; }

  // Everything that was put into `stream` is done, or a minute has passed.
  static void Drain(Stream stream);
};

}  // namespace retort::gpu
