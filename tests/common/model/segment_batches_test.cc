#include "common/model/segment_batches.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::vector<int64_t> Values(const at::Tensor& t) {
  const int64_t* const data = t.const_data_ptr<int64_t>();
  return {data, data + t.numel()};
}

std::vector<int64_t> Offsets(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> offsets{0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

std::vector<SegmentBatch> Batches(const std::vector<int64_t>& lengths,
                                  const SegmentLimits& limits = {.pairs = 1 << 25}) {
  return BatchSegments(Offsets(lengths), limits, at::kCPU);
}

TEST(SegmentBatchesTest, ShortOnes_AreOneBatch_PaddedWithTheirLastRow) {
  const auto batches = Batches({2, 0, 1, 3});
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].segments, 3);
  EXPECT_EQ(batches[0].length, 3);
  EXPECT_THAT(Values(batches[0].padded), ElementsAre(2, 2, 2, 0, 1, 1, 3, 4, 5));
  EXPECT_THAT(Values(batches[0].slots), ElementsAre(0, 3, 4, 6, 7, 8));
  EXPECT_THAT(Values(batches[0].rows), ElementsAre(2, 0, 1, 3, 4, 5));
}

TEST(SegmentBatchesTest, LikeLengths_ComeTogether_WhereverTheyLie) {
  const auto batches = Batches({100, 500, 105, 480, 97});
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].segments, 3);
  EXPECT_EQ(batches[0].length, 105);
  EXPECT_EQ(batches[1].segments, 2);
  EXPECT_EQ(batches[1].length, 500);
}

TEST(SegmentBatchesTest, EveryRow_IsInOneSlot) {
  const std::vector<int64_t> lengths = {3, 70, 1, 200, 66, 0, 150, 1100, 9};
  std::vector<int64_t> all(Offsets(lengths).back()), rows;
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  for (const SegmentBatch& batch : Batches(lengths)) {
    const std::vector<int64_t> padded = Values(batch.padded), some = Values(batch.rows);
    const std::vector<int64_t> slots = Values(batch.slots);
    EXPECT_EQ(static_cast<int64_t>(padded.size()), batch.segments * batch.length);
    for (size_t i = 0; i < some.size(); ++i) EXPECT_EQ(padded[slots[i]], some[i]);
    rows.insert(rows.end(), some.begin(), some.end());
  }
  std::sort(rows.begin(), rows.end());
  EXPECT_THAT(rows, ElementsAreArray(all));
}

TEST(SegmentBatchesTest, Limits_OnePerBatchBeyondThem) {
  EXPECT_EQ(Batches({8, 8, 8, 8}, {.pairs = 2 * 8 * 8}).size(), 2u);
  EXPECT_EQ(Batches({80, 80}, {.pairs = 1 << 25, .length = 79}).size(), 2u);
  EXPECT_EQ(Batches({80, 80}, {.pairs = 1}).size(), 2u);
}

TEST(SegmentBatchesTest, NoRows_NoBatch) { EXPECT_TRUE(Batches({0, 0}).empty()); }

}  // namespace
}  // namespace retort::model
