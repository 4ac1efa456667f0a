// gpu::Api over the real run-time, and LibTorch's tensors over its memory.
#include <cstring>
#include <numeric>
#include <vector>

#include "common/tensor/tensor_digest.h"
#include "gpu/gpu_environment.h"

namespace retort::gpu {
namespace {

using RunTimeTest = GpuTest;

TEST_F(RunTimeTest, Devices_HaveNamesMemoryAndUuids) {
  const std::vector<DeviceInfo> devices = *api().Devices();
  for (const DeviceInfo& device : devices) {
    EXPECT_FALSE(device.name.empty());
    EXPECT_EQ(device.uuid.substr(0, 4), "GPU-");
    EXPECT_GT(device.memory_bytes, int64_t{1} << 30);
    EXPECT_TRUE(*api().CanRead(device.index, device.uuid)) << "its own memory";
  }
  EXPECT_TRUE(absl::IsNotFound(api().CanRead(0, "GPU-none").status()));
}

TEST_F(RunTimeTest, Copy_ThereAndBack_InTheOrderOfTheStream) {
  constexpr int64_t kFloats = 1 << 20;
  std::vector<float> values(kFloats);
  std::iota(values.begin(), values.end(), 1.0f);
  void* const there = *api().Allocate(kFloats * 4);
  auto* const pinned = static_cast<float*>(*api().AllocatePinned(kFloats * 4));
  const Stream stream = *api().CreateStream();
  ASSERT_TRUE(api().Copy(there, values.data(), kFloats * 4, stream).ok());
  ASSERT_TRUE(api().Zero(there, kFloats * 2, stream).ok());
  ASSERT_TRUE(api().Copy(pinned, there, kFloats * 4, stream).ok());
  Drain(stream);
  EXPECT_EQ(pinned[0], 0);
  EXPECT_EQ(pinned[kFloats / 2 - 1], 0);
  EXPECT_EQ(pinned[kFloats / 2], values[kFloats / 2]);
  EXPECT_EQ(pinned[kFloats - 1], values[kFloats - 1]);
  EXPECT_TRUE(api().DestroyStream(stream).ok());
  EXPECT_TRUE(api().FreePinned(pinned).ok());
  EXPECT_TRUE(api().Free(there).ok());
}

TEST_F(RunTimeTest, Allocate_MoreThanThereIs_ResourceExhaustedAndTheDeviceGoesOn) {
  EXPECT_TRUE(absl::IsResourceExhausted(api().Allocate(int64_t{1} << 46).status()));
  void* const memory = *api().Allocate(1 << 20);
  EXPECT_TRUE(api().Free(memory).ok());
}

TEST_F(RunTimeTest, Allocate_SmallOnes_EachHasABlockOfItsOwn) {
  constexpr uintptr_t kBlock = uintptr_t{2} << 20;
  void* const memory[] = {*api().Allocate(64), *api().Allocate(64)};
  for (void* const m : memory) EXPECT_EQ(reinterpret_cast<uintptr_t>(m) % kBlock, 0u);
  for (void* const m : memory) EXPECT_TRUE(api().Free(m).ok());
}

TEST_F(RunTimeTest, OpenMemory_OwnOrDamagedHandle_IsAnErrorAndTheDeviceGoesOn) {
  void* const memory = *api().Allocate(1 << 20);
  const MemoryHandle handle = *api().Export(memory);
  EXPECT_FALSE(api().OpenMemory(handle).ok()) << "in the process that made it";
  EXPECT_FALSE(api().OpenMemory(MemoryHandle()).ok());
  EXPECT_TRUE(api().Free(memory).ok());
  EXPECT_TRUE(api().Allocate(1 << 20).ok());
}

TEST_F(RunTimeTest, Tensors_OverOwnMemory_AreLibTorchs) {
  void* const memory = *api().Allocate(4096 * 4);
  const at::Tensor tensor = at::for_blob(memory, {4096})
                                .options(at::TensorOptions().dtype(at::kFloat).device(gpu().device))
                                .target_device(gpu().device)
                                .make_tensor();
  tensor.fill_(2.0f).mul_(3.0f);
  EXPECT_EQ(tensor.sum().item<float>(), 4096 * 6.0f);
  EXPECT_TRUE(api().Free(memory).ok());
}

TEST_F(RunTimeTest, HashTensor_SameValues_SameDigest_OneBitMatters) {
  const at::Tensor tensor = at::arange(1000003, at::TensorOptions(at::kFloat).device(gpu().device));
  const auto digest = [](const at::Tensor& t) {
    Hasher hasher;
    tensor::HashTensor(t, &hasher);
    return hasher.Finish();
  };
  const Digest before = digest(tensor);
  EXPECT_EQ(digest(tensor.clone()), before);
  tensor[999999].add_(0.0625f);
  EXPECT_NE(digest(tensor), before);
}

}  // namespace
}  // namespace retort::gpu
