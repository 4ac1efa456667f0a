#include "common/model/portable_rows.h"

#include <vector>

#include "common/model/composite.h"
#include "common/model/ops.h"
#include "gtest/gtest.h"
#include "testing/test_device.h"

namespace retort::model {
namespace {

// Sums of some hundred terms of fp32 in another order.
constexpr double kTolerance = 1e-5;
// Two roundings of a value and of its gradient to 8 bits.
constexpr double kBf16 = 2e-2;

// An op's value and, for random derivatives of it, those of its inputs.
struct Evaluated {
  at::Tensor y;
  std::vector<at::Tensor> gradients;
};

template <typename Op>
Evaluated Evaluate(const Op& op, const std::vector<at::Tensor>& inputs, const at::Tensor& seed,
                   const at::Device& device, at::ScalarType type = at::kFloat) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& t : inputs) {
    leaves.push_back(t.to(device, type).detach().clone().set_requires_grad(true));
  }
  const at::Tensor y = op(leaves);
  y.backward(seed.to(device, type));
  Evaluated out{y.detach(), {}};
  for (const at::Tensor& leaf : leaves) out.gradients.push_back(leaf.grad());
  return out;
}

void ExpectClose(const Evaluated& got, const Evaluated& want, double tolerance,
                 const std::string& name) {
  EXPECT_LT(Error(got.y.cpu(), want.y), tolerance) << name;
  for (size_t i = 0; i < want.gradients.size(); ++i) {
    EXPECT_LT(Error(got.gradients[i].cpu(), want.gradients[i]), tolerance) << name << ", " << i;
  }
}

template <typename Op>
void ExpectDeviceEqualsCpu(const Op& op, const std::vector<at::Tensor>& inputs, int64_t width,
                           const std::string& name) {
  const at::Tensor seed = at::randn({inputs[0].size(0), width});
  const Evaluated want = Evaluate(op, inputs, seed, at::kCPU);
  ExpectClose(Evaluate(op, inputs, seed, TestDevice()), want, kTolerance, name);
  const Evaluated half = Evaluate(op, inputs, seed, TestDevice(), at::kBFloat16);
  EXPECT_EQ(half.y.scalar_type(), at::kBFloat16);
  for (const at::Tensor& g : half.gradients) EXPECT_EQ(g.scalar_type(), at::kBFloat16);
  std::vector<at::Tensor> rounded;
  for (const at::Tensor& t : inputs) rounded.push_back(t.to(at::kBFloat16).to(at::kFloat));
  const at::Tensor rounded_seed = seed.to(at::kBFloat16).to(at::kFloat);
  // Relative to the largest: a sum over rows may cancel to next to nothing.
  const Evaluated wide = Evaluate(op, rounded, rounded_seed, at::kCPU);
  const auto apart = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.cpu().to(at::kFloat) - b).abs().max() / b.abs().max()).item<double>();
  };
  EXPECT_LT(apart(half.y, wide.y), kBf16) << name;
  for (size_t i = 0; i < wide.gradients.size(); ++i) {
    EXPECT_LT(apart(half.gradients[i], wide.gradients[i]), kBf16) << name << ", " << i;
  }
}

TEST(PortableRowsTest, RmsNorm_OnTheDevice_EqualsTheCpu) {
  for (const double offset : {0.0, 1.0}) {
    const auto op = [&](const std::vector<at::Tensor>& in) {
      return RmsNorm(in[0], in[1], 1e-5, offset);
    };
    ExpectDeviceEqualsCpu(op, {at::randn({9, 70}), at::randn({70})}, 70, "rms");
  }
}

TEST(PortableRowsTest, LayerNorm_OnTheDevice_EqualsTheCpu) {
  const auto op = [](const std::vector<at::Tensor>& in) {
    return LayerNorm(in[0], in[1], in[2], 1e-5);
  };
  ExpectDeviceEqualsCpu(op, {at::randn({9, 70}) + 0.5, at::randn({70}), at::randn({70})}, 70,
                        "layer norm");
}

TEST(PortableRowsTest, Activate_OnTheDevice_EqualsTheCpu) {
  using layout::Activation;
  for (const Activation kind :
       {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu}) {
    for (const bool gated : {false, true}) {
      const layout::MlpConfig mlp{.gated = gated, .activation = kind};
      const auto op = [&](const std::vector<at::Tensor>& in) { return Activate(mlp, in[0]); };
      ExpectDeviceEqualsCpu(op, {2 * at::randn({6, gated ? 74 : 37})}, 37,
                            std::to_string(static_cast<int>(kind)) + (gated ? " gated" : ""));
    }
  }
}

TEST(PortableRowsTest, QkNorm_OnTheDevice_EqualsTheCpu) {
  const AttentionShape shape{4, 2, 10};
  const auto op = [&](const std::vector<at::Tensor>& in) {
    return QkNorm(in[0], shape, in[1], in[2], 1e-6, 1.0);
  };
  ExpectDeviceEqualsCpu(op, {at::randn({7, 80}), at::randn({10}), at::randn({10})}, 80, "qk norm");
}

TEST(PortableRowsTest, SoftCap_OnTheDevice_EqualsTheCpu) {
  const auto op = [](const std::vector<at::Tensor>& in) { return SoftCap(in[0], 1.5); };
  ExpectDeviceEqualsCpu(op, {3 * at::randn({7, 40})}, 40, "soft cap");
}

// The functions themselves, on tensors of the CPU.
TEST(PortableRowsTest, Norms_CalledOnTheCpu_EqualTheKernels) {
  const at::Tensor x = at::randn({5, 33}), w = at::randn({33}), b = at::randn({33});
  EXPECT_LT(Error(portable::RmsNormForward(x, w, 1e-5, 1.0).y, RmsNorm(x, w, 1e-5, 1.0)), 1e-6);
  EXPECT_LT(Error(portable::LayerNormForward(x, w, b, 1e-5).y, LayerNorm(x, w, b, 1e-5)), 1e-6);
  const at::Tensor gate_up = at::randn({5, 66});
  EXPECT_LT(Error(portable::SwiGluForward(gate_up), SwiGlu(gate_up)), 1e-6);
}

// The square of 400 has no bits left beside those of 16 million in bf16's 8.
TEST(PortableRowsTest, RmsNorm_OfBf16_SumsInFp32) {
  const at::Tensor x = at::ones({1, 4096}, at::kBFloat16);
  const at::Tensor w = at::ones({4096}, at::kBFloat16);
  const portable::RmsNormOutput out =
      portable::RmsNormForward(x.to(TestDevice()), w.to(TestDevice()), 0, 0);
  EXPECT_EQ(out.rstd.scalar_type(), at::kFloat);
  EXPECT_EQ(out.rstd.item<float>(), 1.0f);
}

}  // namespace
}  // namespace retort::model
