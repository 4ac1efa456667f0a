#include "testing/pretend_device.h"

#include <cstring>

#include "common/tensor/cat.h"
#include "common/tensor/torch_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::pretend {
namespace {

using ::testing::HasSubstr;

at::TensorOptions OnDevice(at::ScalarType type = at::kFloat) {
  return at::TensorOptions().dtype(type).device(Device());
}

TEST(PretendDeviceTest, Tensor_ThereAndBack_SameNumbers) {
  const at::Tensor x = at::randn({3, 5});
  const at::Tensor there = x.to(Device());
  EXPECT_EQ(there.device().str(), "privateuseone:0");
  EXPECT_TRUE(at::equal(there.cpu(), x));
  EXPECT_TRUE(at::equal(there.t().contiguous().cpu(), x.t()));
  EXPECT_TRUE(at::equal(there.to(at::kBFloat16).cpu(), x.to(at::kBFloat16)));
  EXPECT_EQ(there.select(0, 2).select(0, 4).item<float>(), x[2][4].item<float>());
}

TEST(PretendDeviceTest, Operations_ComputeWhatTheCpuDoes) {
  const at::Tensor x = at::randn({4, 6}), w = at::randn({3, 6}), b = at::randn({3});
  const at::Tensor x1 = x.to(Device()), w1 = w.to(Device()), b1 = b.to(Device());
  EXPECT_TRUE(at::equal(at::linear(x1, w1, b1).cpu(), at::linear(x, w, b)));
  EXPECT_TRUE(at::equal(at::softmax(x1 * 2.0, -1).cpu(), at::softmax(x * 2.0, -1)));
  EXPECT_TRUE(
      at::equal(tensor::Cat({x1, x1.narrow(0, 1, 2)}).cpu(), tensor::Cat({x, x.narrow(0, 1, 2)})));
  const at::Tensor ids = at::arange(3, OnDevice(at::kLong)) + 1;
  EXPECT_TRUE(at::equal(at::embedding(x1, ids).cpu(), x.narrow(0, 1, 3)));
  at::Tensor y = at::zeros({4, 6}, OnDevice());
  y.narrow(1, 2, 3).add_(x1.narrow(1, 0, 3), 2);  // In place, through a view.
  y.index_copy_(0, ids.narrow(0, 0, 1), x1.narrow(0, 0, 1));
  at::Tensor want = at::zeros({4, 6});
  want.narrow(1, 2, 3).add_(x.narrow(1, 0, 3), 2);
  want[1].copy_(x[0]);
  EXPECT_TRUE(at::equal(y.cpu(), want));
}

TEST(PretendDeviceTest, Backward_AddsIntoTheGivenGradient) {
  const at::Tensor x = at::randn({4, 6}), w = at::randn({3, 6});
  at::Tensor leaf = w.to(Device()).set_requires_grad(true);
  const at::Tensor gradient = at::ones({3, 6}, OnDevice());
  leaf.mutable_grad() = gradient;
  at::linear(x.to(Device()), leaf).square().sum().backward();
  at::Tensor same = w.clone().set_requires_grad(true);
  at::linear(x, same).square().sum().backward();
  EXPECT_TRUE(at::allclose(gradient.cpu(), same.grad() + 1));
}

TEST(PretendDeviceTest, FusedAdamW_InPlace_OnlyWithAllTensorsThere) {
  const auto step = [](const at::Device& device, const at::Device& count_device) {
    at::Tensor p = at::ones({8}).to(device);
    const at::Tensor g = at::full({8}, 0.5, p.options());
    const at::Tensor m = at::zeros_like(p), v = at::zeros_like(p);
    const at::Tensor count = at::full({}, 1.0, at::TensorOptions(at::kFloat).device(count_device));
    at::_fused_adamw_({p}, {g}, {m}, {v}, {}, {count}, 0.1, 0.9, 0.99, 0.01, 1e-8, false, false);
    return p.cpu();
  };
  EXPECT_TRUE(at::equal(step(Device(), Device()), step(at::kCPU, at::kCPU)));
  EXPECT_THROW(step(Device(), at::kCPU), c10::Error);
}

TEST(PretendDeviceTest, MixedDevices_Refused) {
  const at::Tensor x = at::ones({3, 3}), there = x.to(Device());
  const auto said = [](const auto& body) {
    return std::string(tensor::CatchTorch([&] { return at::Tensor(body()); }).status().message());
  };
  EXPECT_THAT(said([&] { return x + there; }), HasSubstr("privateuseone:0"));
  EXPECT_THAT(said([&] { return at::matmul(there, x); }), HasSubstr("privateuseone:0"));
  EXPECT_THAT(said([&] { return tensor::Cat({there, x}); }), HasSubstr("privateuseone:0"));
  EXPECT_THAT(said([&] { return there.index_select(0, at::arange(2)); }), HasSubstr("is on cpu"));
  EXPECT_EQ((there + at::scalar_tensor(1.0)).sum().item<float>(), 18.0f);
}

TEST(PretendDeviceDeathTest, RawPointer_Faults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const at::Tensor there = at::ones({4}).to(Device());
  EXPECT_DEATH({ *const_cast<volatile float*>(there.const_data_ptr<float>()) = 2; }, "");
}

TEST(PretendDeviceTest, NewMemory_HoldsNaN_AlsoReused) {
  for (int i = 0; i < 2; ++i) {
    const at::Tensor fresh = at::empty({100}, OnDevice());
    EXPECT_TRUE(fresh.cpu().isnan().all().item<bool>()) << i;
    fresh.fill_(1);
  }
}

TEST(PretendDeviceTest, FromBlob_OverItsMemoryAndForeign_SharesIt) {
  void* const memory = Allocate(4 * sizeof(float));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 512, 0u);
  const at::Tensor x = at::from_blob(memory, {4}, &Free, OnDevice(), Device());
  x.copy_(at::arange(4, at::kFloat));
  x.add_(1);
  EXPECT_EQ(static_cast<const float*>(HostAddress(memory))[3], 4.0f);
  float foreign[4] = {1, 2, 3, 4};
  const at::Tensor y =
      at::for_blob(foreign, {4}).options(OnDevice()).target_device(Device()).make_tensor();
  y.mul_(x);
  EXPECT_EQ(foreign[3], 16.0f);
  EXPECT_EQ(y.device(), Device());
  EXPECT_THROW(at::from_blob(foreign, {4}, OnDevice()), c10::Error) << "whose memory is it?";
}

}  // namespace
}  // namespace retort::pretend
