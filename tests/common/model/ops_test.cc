#include "common/model/ops.h"

#include "common/model/composite.h"
#include "common/model/row_kernels.h"
#include "common/tensor/cat.h"
#include "common/tensor/torch_process.h"
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

TEST(OpsTest, RmsNorm_WeightPlusOne_EqualsComposite) {
  const at::Tensor x = Random({5, 21}).set_requires_grad(true);
  const at::Tensor w = Random({21}).set_requires_grad(true);
  const at::Tensor x64 = Twin(x), w64 = Twin(w);
  const at::Tensor y = RmsNorm(x, w, 1e-5, 1.0);
  const at::Tensor y64 = CompositeNorm(x64, w64 + 1, 1e-5);
  const at::Tensor seed = Random({5, 21});
  y.backward(seed);
  y64.backward(seed.to(at::kDouble));
  EXPECT_LT(Error(y, y64), 1e-6);
  EXPECT_LT(Error(x.grad(), x64.grad()), 2e-6);
  EXPECT_LT(Error(w.grad(), w64.grad()), 2e-6);
}

TEST(OpsTest, LayerNorm_ValueAndGradients_EqualComposite) {
  for (const int64_t width : {2, 7, 16, 48, 130}) {
    // Apart, or the backward of a narrow row is a difference of nearly equal numbers.
    const at::Tensor x =
        (Random({5, width}) + 2 * at::arange(width)).detach().set_requires_grad(true);
    const at::Tensor w = Random({width}).set_requires_grad(true);
    const at::Tensor b = Random({width}).set_requires_grad(true);
    const at::Tensor x64 = Twin(x), w64 = Twin(w), b64 = Twin(b);
    const at::Tensor y = LayerNorm(x, w, b, 1e-5);
    const at::Tensor centred = x64 - x64.mean(-1, true);
    const at::Tensor y64 = centred * at::rsqrt(centred.square().mean(-1, true) + 1e-5) * w64 + b64;
    const at::Tensor seed = Random({5, width});
    y.backward(seed);
    y64.backward(seed.to(at::kDouble));
    EXPECT_LT(Error(y, y64), 1e-5) << width;
    EXPECT_LT(Error(x.grad(), x64.grad()), 1e-4) << width;
    EXPECT_LT(Error(w.grad(), w64.grad()), 1e-5) << width;
    EXPECT_LT(Error(b.grad(), b64.grad()), 2e-6) << width;
  }
}

TEST(OpsTest, Activate_EveryKind_EqualsItsKernel) {
  using layout::Activation;
  for (const Activation kind :
       {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu}) {
    for (const bool gated : {false, true}) {
      const layout::MlpConfig mlp{.gated = gated, .activation = kind};
      const int64_t width = 37;
      const at::Tensor x = 3 * Random({6, gated ? 2 * width : width});
      at::Tensor kernel = at::empty({6, width});
      ActivationForward(mlp, x.const_data_ptr<float>(), 6, width, kernel.mutable_data_ptr<float>());
      EXPECT_LT(Error(Activate(mlp, x), kernel), 5e-6) << static_cast<int>(kind) << gated;
    }
  }
}

TEST(OpsTest, LayerNorm_OneOrTwoThreads_EqualBits) {
  const at::Tensor x0 = Random({900, 70}), w0 = Random({70}), b0 = Random({70});
  const at::Tensor seed = Random({900, 70});
  at::Tensor grads[2];
  for (int threads = 1; threads <= 2; ++threads) {
    const tensor::ThreadCount count(threads);
    const at::Tensor x = x0.clone().set_requires_grad(true);
    const at::Tensor w = w0.clone().set_requires_grad(true);
    const at::Tensor b = b0.clone().set_requires_grad(true);
    LayerNorm(x, w, b, 1e-5).backward(seed);
    grads[threads - 1] = tensor::Cat({x.grad().flatten(), w.grad(), b.grad()});
  }
  EXPECT_TRUE(at::equal(grads[0], grads[1]));
}

// A row's bits do not depend on its neighbours or on where it lies.
TEST(OpsTest, RowKernels_OneRowAlone_EqualBits) {
  const int64_t rows = 7, width = 45;
  const at::Tensor x = Random({rows, width}), w = Random({width}), b = Random({width});
  const auto data = [](const at::Tensor& t) { return t.const_data_ptr<float>(); };
  const auto run = [&](const at::Tensor& in) {
    const at::Tensor norm = at::empty_like(in), act = at::empty_like(in), rms = at::empty_like(in);
    LayerNormForward(data(in), data(w), data(b), 1e-5, in.size(0), width,
                     norm.mutable_data_ptr<float>(), nullptr, nullptr);
    ActivationForward({.gated = false, .activation = layout::Activation::kGelu}, data(in),
                      in.size(0), width, act.mutable_data_ptr<float>());
    RmsNormForward(data(in), data(w), 1e-5, in.size(0), width, rms.mutable_data_ptr<float>(),
                   nullptr, 1.0f);
    return tensor::Cat({norm, act, rms}, 1);
  };
  const at::Tensor all = run(x);
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(at::equal(run(x.narrow(0, i, 1).clone()), all.narrow(0, i, 1))) << i;
  }
}

}  // namespace
}  // namespace retort::model
