#include "common/objective/masked_statistics.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

at::Tensor Row(std::vector<float> values) { return at::tensor(values).unsqueeze(0); }
at::Tensor Mask(std::vector<int> values) { return at::tensor(values).to(at::kBool).unsqueeze(0); }

TEST(MaskedStatisticsTest, Mean_NanOffTheMask_ChangesNothing) {
  EXPECT_FLOAT_EQ(MaskedMean(Row({1, kNaN, 3}), Mask({1, 0, 1})).item<float>(), 2);
}

TEST(MaskedStatisticsTest, Mean_NoEntry_Nan) {
  EXPECT_TRUE(std::isnan(MaskedMean(Row({1, 2}), Mask({0, 0})).item<float>()));
}

TEST(MaskedStatisticsTest, Variance_UnbiasedAndBiased) {
  const at::Tensor values = Row({1, 2, 3, 4, 100});
  const at::Tensor mask = Mask({1, 1, 1, 1, 0});
  EXPECT_FLOAT_EQ(MaskedVariance(values, mask)->item<float>(), 5.0 / 3);
  EXPECT_FLOAT_EQ(MaskedVariance(values, mask, false)->item<float>(), 1.25);
}

TEST(MaskedStatisticsTest, Variance_OneEntryNan_NoneRefused) {
  EXPECT_TRUE(std::isnan(MaskedVariance(Row({1, 2}), Mask({1, 0}))->item<float>()));
  EXPECT_NE(MaskedVariance(Row({1, 2}), Mask({0, 0})).status().message().find("empty mask"),
            absl::string_view::npos);
}

TEST(MaskedStatisticsTest, Whiten_MeanZeroVarianceOne) {
  const at::Tensor mask = Mask({1, 1, 1, 0});
  const at::Tensor whitened = *Whiten(Row({3, 5, 10, 77}), mask);
  EXPECT_NEAR(MaskedMean(whitened, mask).item<float>(), 0, 1e-6);
  EXPECT_NEAR(MaskedVariance(whitened, mask)->item<float>(), 1, 1e-6);
}

TEST(MaskedStatisticsTest, Whiten_WithoutShift_KeepsTheMean) {
  const at::Tensor mask = Mask({1, 1, 1});
  EXPECT_NEAR(MaskedMean(*Whiten(Row({3, 5, 10}), mask, false), mask).item<float>(), 6, 1e-5);
}

TEST(MaskedStatisticsTest, Parts_RankWithoutEntries_SameAsWhole) {
  const at::Tensor whole = Row({1, 2, 3, 4, 5, 6});
  const GlobalStatistics one = StatisticsOverParts({whole}, {});
  const GlobalStatistics split =
      StatisticsOverParts({Row({1, 2}), Row({9, 9}), Row({3, 4, 5, 6})},
                          {Mask({1, 1}), Mask({0, 0}), Mask({1, 1, 1, 1})});
  EXPECT_DOUBLE_EQ(one.mean, split.mean);
  EXPECT_DOUBLE_EQ(one.variance, split.variance);
  EXPECT_EQ(split.count, 6);
}

}  // namespace
}  // namespace retort::objective
