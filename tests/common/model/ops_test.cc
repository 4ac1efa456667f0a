#include "common/model/ops.h"

#include "common/model/composite.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

at::Tensor Random(std::vector<int64_t> shape) { return at::randn(shape, at::kFloat); }

// The double twin of a leaf.
at::Tensor Twin(const at::Tensor& x) { return x.detach().to(at::kDouble).set_requires_grad(true); }

TEST(OpsTest, RmsNorm_ValueAndGradients_EqualComposite) {
  for (const int64_t width : {1, 7, 16, 48, 130}) {
    const at::Tensor x = Random({5, width}).set_requires_grad(true);
    const at::Tensor w = Random({width}).set_requires_grad(true);
    const at::Tensor x64 = Twin(x), w64 = Twin(w);
    const at::Tensor y = RmsNorm(x, w, 1e-5);
    const at::Tensor y64 = CompositeNorm(x64, w64, 1e-5);
    const at::Tensor seed = Random({5, width});
    y.backward(seed);
    y64.backward(seed.to(at::kDouble));
    EXPECT_LT(Error(y, y64), 1e-6) << width;
    EXPECT_LT(Error(x.grad(), x64.grad()), 2e-5) << width;  // Width 1: all cancels.
    EXPECT_LT(Error(w.grad(), w64.grad()), 2e-6) << width;
  }
}

TEST(OpsTest, SwiGlu_ValueAndGradients_EqualComposite) {
  for (const int64_t width : {1, 5, 16, 37}) {
    const at::Tensor x = (3 * Random({6, 2 * width})).detach().set_requires_grad(true);
    const at::Tensor x64 = Twin(x);
    const at::Tensor y = SwiGlu(x);
    const at::Tensor y64 = CompositeSwiGlu(x64);
    const at::Tensor seed = Random({6, width});
    y.backward(seed);
    y64.backward(seed.to(at::kDouble));
    EXPECT_LT(Error(y, y64), 1e-6) << width;
    EXPECT_LT(Error(x.grad(), x64.grad()), 2e-6) << width;
  }
}

TEST(OpsTest, SwiGlu_ExtremeGates_AreFinite) {
  const at::Tensor x = at::tensor({-200.0f, 200.0f, 1.0f, 1.0f}).view({1, 4});
  const at::Tensor y = SwiGlu(x);
  EXPECT_NEAR(y[0][0].item<float>(), 0.0f, 1e-30);
  EXPECT_EQ(y[0][1].item<float>(), 200.0f);
}

TEST(OpsTest, RmsNorm_NanInput_StaysNan) {
  at::Tensor x = Random({2, 8});
  x[1][3] = NAN;
  const at::Tensor y = RmsNorm(x, at::ones({8}), 1e-5);
  EXPECT_FALSE(y[0].isnan().any().item<bool>());
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
}

}  // namespace
}  // namespace retort::model
