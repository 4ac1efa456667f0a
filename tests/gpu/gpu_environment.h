// The GPU of the machine for tests that need a real one. main.cc runs none without it.
#pragma once

#include "common/tensor/gpu_device.h"
#include "gtest/gtest.h"

namespace retort::gpu {

// Null without a plug-in or a device; opened once. WhyNoGpu says why.
const tensor::GpuDevice* TestGpu();
const std::string& WhyNoGpu();

class GpuTest : public testing::Test {
 protected:
  static const tensor::GpuDevice& gpu() { return *TestGpu(); }
  static Api& api() { return *gpu().plugin.api; }

  // Everything that was put into `stream` is done, or a minute has passed.
  static void Drain(Stream stream);
};

}  // namespace retort::gpu
