#include "common/data/cursor.h"

#include <algorithm>
#include <numeric>

#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::data {
namespace {

using testing::ElementsAre;

TEST(CursorTest, RowsOfStep_WithoutShuffle_AscendingAndWrapping) {
  EXPECT_THAT(RowsOfStep(5, 2, false, 1, 0), ElementsAre(0, 1));
  EXPECT_THAT(RowsOfStep(5, 2, false, 1, 2), ElementsAre(4, 0));
  EXPECT_THAT(RowsOfStep(5, 2, false, 1, 3), ElementsAre(1, 2));
}

TEST(CursorTest, RowsOfStep_StepLargerThanDataset_SpansManyPasses) {
  EXPECT_THAT(RowsOfStep(2, 5, false, 1, 1), ElementsAre(1, 0, 1, 0, 1));
}

TEST(CursorTest, RowsOfStep_Shuffled_EveryPassIsThePermutationOfItsNumber) {
  constexpr int64_t kRows = 7, kPerStep = 3, kSteps = 14;
  std::vector<int64_t> drawn;
  for (int64_t step = 0; step < kSteps; ++step) {
    const std::vector<int64_t> rows = RowsOfStep(kRows, kPerStep, true, 42, step);
    drawn.insert(drawn.end(), rows.begin(), rows.end());
  }
  std::vector<int64_t> want;
  for (uint64_t pass = 0; pass < kSteps * kPerStep / kRows; ++pass) {
    CounterRng rng(42, RngPurpose::kShuffle, pass);
    const std::vector<int64_t> order = RandomPermutation(kRows, rng);
    want.insert(want.end(), order.begin(), order.end());
  }
  EXPECT_EQ(drawn, want);
}

TEST(CursorTest, RowCursor_StepsInAnyOrder_SameRowsAsAlone) {
  RowCursor cursor(11, 4, true, 9);
  for (const int64_t step : {5, 0, 1, 2, 30, 2, 3, 29}) {
    EXPECT_EQ(cursor.RowsOfStep(step), RowsOfStep(11, 4, true, 9, step)) << step;
  }
}

TEST(CursorTest, RowsOfStep_OtherSeed_OtherOrder) {
  EXPECT_NE(RowsOfStep(100, 100, true, 1, 0), RowsOfStep(100, 100, true, 2, 0));
}

TEST(CursorTest, RowsOfStep_HugeStepNumber_StaysInRange) {
  for (const int64_t row : RowsOfStep(10, 1'000'000 / 10, false, 1, int64_t{1} << 60)) {
    ASSERT_GE(row, 0);
    ASSERT_LT(row, 10);
  }
}

}  // namespace
}  // namespace retort::data
