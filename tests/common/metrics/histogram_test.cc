#include "common/metrics/histogram.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::metrics {
namespace {

std::vector<int64_t> Counts(const v1::Histogram& histogram) {
  return {histogram.counts().begin(), histogram.counts().end()};
}

TEST(HistogramTest, Values_FallIntoEqualBins) {
  std::vector<float> values;
  for (int i = 0; i <= 32; ++i) values.push_back(static_cast<float>(i));
  const v1::Histogram histogram = MakeHistogram(values);
  EXPECT_EQ(histogram.low(), 0);
  EXPECT_EQ(histogram.high(), 32);
  std::vector<int64_t> want(32, 1);
  want[31] = 2;  // The largest value belongs to the last bin.
  EXPECT_EQ(Counts(histogram), want);
}

TEST(HistogramTest, EqualValues_LieInFirstBin) {
  const v1::Histogram histogram = MakeHistogram({2.5f, 2.5f, 2.5f});
  EXPECT_EQ(histogram.low(), 2.5);
  EXPECT_EQ(histogram.high(), 2.5);
  EXPECT_EQ(histogram.counts_size(), 32);
  EXPECT_EQ(histogram.counts(0), 3);
}

TEST(HistogramTest, NotFinite_CountedApart) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const v1::Histogram histogram = MakeHistogram({1, NAN, -kInf, 3, kInf});
  EXPECT_EQ(histogram.not_finite(), 3);
  EXPECT_EQ(histogram.low(), 1);
  EXPECT_EQ(histogram.high(), 3);
  const std::vector<int64_t> counts = Counts(histogram);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), 2);
}

TEST(HistogramTest, NothingFinite_NoBins) {
  EXPECT_EQ(MakeHistogram({}).counts_size(), 0);
  EXPECT_EQ(MakeHistogram({NAN}).counts_size(), 0);
  EXPECT_EQ(MakeHistogram({NAN}).not_finite(), 1);
}

TEST(HistogramTest, ExtremeRange_StaysInside) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const std::vector<int64_t> counts = Counts(MakeHistogram({-kMax, 0, kMax}));
  EXPECT_EQ(counts[0], 1);
  EXPECT_EQ(counts[16], 1);
  EXPECT_EQ(counts[31], 1);
}

}  // namespace
}  // namespace retort::metrics
