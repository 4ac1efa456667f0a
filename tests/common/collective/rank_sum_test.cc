#include "common/collective/rank_sum.h"

#include <vector>

#include "gtest/gtest.h"

namespace retort::collective {
namespace {

TEST(SliceOfRankTest, Slices_AnyWorld_CoverInOrderOnWholeLines) {
  for (const int64_t count : {0, 1, 15, 16, 17, 1000, (1 << 20) + 3}) {
    for (int world = 1; world <= 7; ++world) {
      int64_t next = 0;
      for (int rank = 0; rank < world; ++rank) {
        const Slice slice = SliceOfRank(count, rank, world);
        EXPECT_EQ(slice.first, next);
        EXPECT_TRUE(slice.first % 16 == 0 || slice.first == count);
        next = slice.last;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(SumInRankOrderTest, Float_OrderMatters_LeftToRight) {
  const std::vector<float> a(5000, 1e8f), b(5000, 1.0f), c(5000, -1e8f);
  const void* const sources[] = {a.data(), b.data(), c.data()};
  std::vector<float> out(5000, -1.0f);
  void* const to[] = {out.data()};
  SumInRankOrder(sources, 5000, ElementType::kFloat32, to);
  EXPECT_EQ(out,
            std::vector<float>(5000, 0.0f));  // (1e8 + 1) - 1e8 in float; any other order gives 1.
}

// Whole cache lines are added apart from what is left at the end.
TEST(SumInRankOrderTest, AnyCountAndAlignment_WritesExactlyThem) {
  std::vector<double> a(3001), b(3001);
  for (int i = 0; i < 3001; ++i) a[i] = i, b[i] = 0.25 * i;
  const void* const sources[] = {a.data(), b.data() + 1};
  for (const int count : {0, 1, 7, 8, 9, 1000, 3000}) {
    std::vector<double> first(3011, -1.0), second(3013, -1.0);
    void* const to[] = {first.data() + 1, second.data() + 3};
    SumInRankOrder(sources, count, ElementType::kFloat64, to);
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(first[1 + i], i + 0.25 * (i + 1)) << i << " of " << count;
      ASSERT_EQ(second[3 + i], first[1 + i]) << i << " of " << count;
    }
    EXPECT_EQ(first[0], -1.0);
    EXPECT_EQ(first[1 + count], -1.0);
    EXPECT_EQ(second[2], -1.0);
    EXPECT_EQ(second[3 + count], -1.0);
  }
}

TEST(SumInRankOrderTest, DestinationIsASource_SumReplacesIt) {
  std::vector<int64_t> a(2000, 3), b(2000, 4);
  const void* const sources[] = {a.data(), b.data()};
  void* const to[] = {a.data(), b.data()};
  SumInRankOrder(sources, 2000, ElementType::kInt64, to);
  EXPECT_EQ(a, std::vector<int64_t>(2000, 7));
  EXPECT_EQ(b, a);
}

}  // namespace
}  // namespace retort::collective
