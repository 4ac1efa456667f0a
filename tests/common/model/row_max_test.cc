#include "common/model/row_max.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace retort::model {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(RowMaxTest, EveryLengthAndPlace_IsFound) {
  for (int64_t n = 1; n <= 150; ++n) {
    for (int64_t at = 0; at < n; ++at) {
      std::vector<float> x(n, -2.5f);
      x[at] = -1.0f;
      const RowMax max = MaxOfRow(x.data(), n);
      ASSERT_TRUE(max.finite);
      ASSERT_EQ(max.value, -1.0f);
      ASSERT_EQ(max.index, at);
    }
  }
}

TEST(RowMaxTest, Equal_TheLowestIndex) {
  std::vector<float> x(100, 0.0f);
  x[37] = x[38] = x[90] = 4.0f;
  EXPECT_EQ(MaxOfRow(x.data(), 100).index, 37);
}

TEST(RowMaxTest, BadValueAtEveryPlace_NotFinite) {
  for (const float bad : {kInf, static_cast<float>(NAN)}) {
    for (int64_t at = 0; at < 100; ++at) {
      std::vector<float> x(100, 1.0f);
      x[at] = bad;
      EXPECT_FALSE(MaxOfRow(x.data(), 100).finite) << bad << " at " << at;
    }
  }
}

TEST(RowMaxTest, MinusInfinity_OnlyAloneItCounts) {
  std::vector<float> x(100, -kInf);
  EXPECT_FALSE(MaxOfRow(x.data(), 100).finite);
  x[99] = -3;
  EXPECT_TRUE(MaxOfRow(x.data(), 100).finite);
  EXPECT_EQ(MaxOfRow(x.data(), 100).index, 99);
}

}  // namespace
}  // namespace retort::model
