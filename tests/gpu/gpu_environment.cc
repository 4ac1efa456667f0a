#include "gpu/gpu_environment.h"

#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/rpc/build_version.h"
#include "testing/test_device.h"

namespace retort::gpu {
namespace {

absl::StatusOr<tensor::GpuDevice>& Opened() {
  static auto* const opened = new absl::StatusOr<tensor::GpuDevice>(
      tensor::OpenGpu(ExecutableDirectory(), rpc::kSourceDigest, /*worker=*/0));
  return *opened;
}

}  // namespace

const tensor::GpuDevice* TestGpu() { return Opened().ok() ? &*Opened() : nullptr; }

const std::string& WhyNoGpu() {
  static auto* const why = new std::string(Opened().status().message());
  return *why;
}

void GpuTest::Drain(Stream stream) {
  const Event event = *api().CreateEvent(/*shared=*/false);
  ASSERT_TRUE(api().Record(event, stream).ok());
  const absl::Time end = absl::Now() + absl::Minutes(1);
  while (!*api().IsDone(event)) ASSERT_LT(absl::Now(), end) << "the stream does not end";
  ASSERT_TRUE(api().DestroyEvent(event).ok());
}

}  // namespace retort::gpu

namespace retort {

at::Device TestDevice() {
  RETORT_CHECK(gpu::TestGpu() != nullptr) << gpu::WhyNoGpu();
  return gpu::TestGpu()->device;
}

}  // namespace retort
