#include "common/objective/importance_sampling.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

const float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(ImportanceSamplingTest, Weights_RatioUpToTheCap_OneOffTheMask) {
  const at::Tensor weights = TruncatedImportanceWeights(at::tensor({-1.f, -1.f, -1.f, kNaN}),
                                                        at::tensor({-1.f, -3.f, -0.5f, kNaN}),
                                                        at::tensor({1, 1, 1, 0}).to(at::kBool), 2);
  EXPECT_TRUE(at::allclose(weights, at::tensor({1.f, 2.f, std::exp(-0.5f), 1.f})));
}

TEST(ImportanceSamplingTest, Weights_AreConstants) {
  const at::Tensor old = at::zeros({2}).set_requires_grad(true);
  EXPECT_FALSE(
      TruncatedImportanceWeights(old, at::zeros({2}), at::ones({2}, at::kBool), 2).requires_grad());
}

TEST(ImportanceSamplingTest, Statistics_OverTheMask) {
  const auto got = SamplingStatistics(at::tensor({-1.f, -1.f, 9.f}), at::tensor({-1.f, -3.f, 0.f}),
                                      at::tensor({1, 1, 0}).to(at::kBool), 3);
  EXPECT_DOUBLE_EQ(got.at("sampling/sampling_logp_difference/mean"), 1);
  EXPECT_DOUBLE_EQ(got.at("sampling/sampling_logp_difference/max"), 2);
  EXPECT_DOUBLE_EQ(got.at("sampling/importance_sampling_ratio/min"), 1);
  EXPECT_DOUBLE_EQ(got.at("sampling/importance_sampling_ratio/max"), 3);
  EXPECT_DOUBLE_EQ(got.at("sampling/importance_sampling_ratio/mean"), 2);
}

TEST(ImportanceSamplingTest, Statistics_EmptyMask_Nan) {
  for (const auto& [name, value] :
       SamplingStatistics(at::zeros({2}), at::zeros({2}), at::zeros({2}, at::kBool), 2)) {
    EXPECT_TRUE(std::isnan(value)) << name;
  }
}

}  // namespace
}  // namespace retort::objective
