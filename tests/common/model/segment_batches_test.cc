#include "common/model/segment_batches.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

std::vector<int64_t> Values(const at::Tensor& t) {
  const int64_t* const data = t.const_data_ptr<int64_t>();
  return {data, data + t.numel()};
}

std::vector<int64_t> Offsets(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> offsets{0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

SegmentPlan PlanOf(const std::vector<int64_t>& lengths,
                   const SegmentLimits& limits = {.pairs = 1 << 25}) {
  return BatchSegments(Offsets(lengths), limits, at::kCPU);
}

std::vector<SegmentBatch> Batches(const std::vector<int64_t>& lengths,
                                  const SegmentLimits& limits = {.pairs = 1 << 25}) {
  return PlanOf(lengths, limits).batches;
}

TEST(SegmentBatchesTest, ShortOnes_AreOneBatch_PaddedWithTheirLastRow) {
  const SegmentPlan plan = PlanOf({2, 0, 1, 3});
  const std::vector<SegmentBatch>& batches = plan.batches;
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].segments, 3);
  EXPECT_EQ(batches[0].length, 3);
  EXPECT_THAT(Values(batches[0].padded), ElementsAre(2, 2, 2, 0, 1, 1, 3, 4, 5));
  EXPECT_THAT(Values(batches[0].slots), ElementsAre(0, 3, 4, 6, 7, 8));
  EXPECT_THAT(Values(batches[0].padding.to(at::kLong)), ElementsAre(0, 1, 1, 0, 0, 1, 0, 0, 0));
  EXPECT_THAT(Values(plan.places), ElementsAre(1, 2, 0, 3, 4, 5));
}

TEST(SegmentBatchesTest, LikeLengths_ComeTogether_WhereverTheyLie) {
  const auto batches = Batches({100, 500, 105, 480, 97});
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].segments, 3);
  EXPECT_EQ(batches[0].length, 105);
  EXPECT_EQ(batches[1].segments, 2);
  EXPECT_EQ(batches[1].length, 500);
}

TEST(SegmentBatchesTest, EveryRow_IsInTheSlotOfItsPlace) {
  const std::vector<int64_t> lengths = {3, 70, 1, 200, 66, 0, 150, 1100, 9};
  const SegmentPlan plan = PlanOf(lengths);
  std::vector<int64_t> rows;  // In the order of the batches' slots.
  for (const SegmentBatch& batch : plan.batches) {
    const std::vector<int64_t> padded = Values(batch.padded), slots = Values(batch.slots);
    std::vector<int64_t> padding = Values(batch.padding.to(at::kLong));
    EXPECT_EQ(static_cast<int64_t>(padded.size()), batch.segments * batch.length);
    for (const int64_t slot : slots) {
      rows.push_back(padded[slot]);
      EXPECT_EQ(padding[slot]++, 0);
    }
    EXPECT_THAT(padding, Each(1));
  }
  const std::vector<int64_t> places = Values(plan.places);
  ASSERT_EQ(rows.size(), places.size());
  for (size_t row = 0; row < places.size(); ++row) EXPECT_EQ(rows[places[row]], row);
}

TEST(SegmentBatchesTest, Limits_OnePerBatchBeyondThem) {
  EXPECT_EQ(Batches({8, 8, 8, 8}, {.pairs = 2 * 8 * 8}).size(), 2u);
  EXPECT_EQ(Batches({80, 80}, {.pairs = 1 << 25, .length = 79}).size(), 2u);
  EXPECT_EQ(Batches({80, 80}, {.pairs = 1}).size(), 2u);
}

TEST(SegmentBatchesTest, NoRows_NoBatch) {
  const SegmentPlan plan = PlanOf({0, 0});
  EXPECT_TRUE(plan.batches.empty());
  EXPECT_EQ(plan.places.numel(), 0);
}

}  // namespace
}  // namespace retort::model
