#include "common/objective/optimizer.h"

#include <cmath>
#include <limits>

#include "common/tensor/aten.h"
#include "gtest/gtest.h"

namespace retort::objective {
namespace {

at::Tensor Wave(int64_t n, double phase) {
  return (at::arange(n, at::kDouble) * 0.37 + phase).sin().to(at::kFloat);
}

struct State {
  at::Tensor parameter, exp_avg, exp_avg_sq;
};

State Start(int64_t n) { return {Wave(n, 0), at::zeros({n}), at::zeros({n})}; }

TEST(AdamWTest, FirstStep_MovesByLearningRateAgainstTheSign) {
  State state = Start(4);
  const at::Tensor before = state.parameter.clone();
  const at::Tensor gradient = at::tensor({1.f, -2.f, 3.f, -4.f});
  AdamWOptions options;
  options.weight_decay = 0;
  AdamWUpdate(state.parameter, gradient, state.exp_avg, state.exp_avg_sq, 1, 0.01, options);
  EXPECT_TRUE(at::allclose(state.parameter, before - 0.01 * gradient.sign(), 1e-5, 1e-6));
}

// A rank that owns a slice, and an optimizer group that is a range, compute what the whole would.
TEST(AdamWTest, RangesOfAlignedOffsets_SameBitsAsTheWhole) {
  const int64_t n = 1000;
  State whole = Start(n), split = Start(n);
  for (int64_t step = 1; step <= 3; ++step) {
    const at::Tensor gradient = Wave(n, static_cast<double>(step));
    AdamWUpdate(whole.parameter, gradient, whole.exp_avg, whole.exp_avg_sq, step, 1e-2, {});
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 16}, {16, 512}, {512, n}}) {
      const auto cut = [b = begin, e = end](const at::Tensor& x) { return x.slice(0, b, e); };
      AdamWUpdate(cut(split.parameter), cut(gradient), cut(split.exp_avg), cut(split.exp_avg_sq),
                  step, 1e-2, {});
    }
  }
  EXPECT_TRUE(at::equal(whole.parameter, split.parameter));
  EXPECT_TRUE(at::equal(whole.exp_avg_sq, split.exp_avg_sq));
}

TEST(AdamWTest, EmptyRange_NoOp) {
  State state = Start(0);
  AdamWUpdate(state.parameter, at::zeros({0}), state.exp_avg, state.exp_avg_sq, 1, 0.1, {});
  EXPECT_EQ(state.parameter.numel(), 0);
}

TEST(SumOfSquaresTest, ThreadCounts_SameBits) {
  const at::Tensor gradient = Wave(1 << 20, 0.1);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const double one = SumOfSquares(gradient);
  at::set_num_threads(2);
  EXPECT_EQ(SumOfSquares(gradient), one);
  at::set_num_threads(before);
  EXPECT_NEAR(one, gradient.to(at::kDouble).square().sum().item<double>(), 1e-6);
}

TEST(ClipGradNormTest, AboveMaximum_ScaledToIt_AllTensors) {
  const at::Tensor a = at::tensor({3.f}), b = at::tensor({4.f});
  EXPECT_DOUBLE_EQ(ClipGradNorm({a, b}, 1), 5);
  EXPECT_NEAR(a.item<float>(), 0.6, 1e-6);
  EXPECT_NEAR(b.item<float>(), 0.8, 1e-6);
}

TEST(ClipGradNormTest, BelowMaximum_SameBits) {
  const at::Tensor a = at::tensor({0.3f});
  ClipGradNorm({a}, 1);
  EXPECT_EQ(a.item<float>(), 0.3f);
}

TEST(ClipGradNormTest, NotFinite_ReportedAndUntouched) {
  const at::Tensor a = at::tensor({1.f, std::numeric_limits<float>::infinity()});
  EXPECT_FALSE(std::isfinite(ClipGradNorm({a}, 1)));
  EXPECT_EQ(a[0].item<float>(), 1);
}

}  // namespace
}  // namespace retort::objective
