#include "common/model/attend_plan.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

using ::testing::ElementsAre;

constexpr AttentionShape kShape{4, 2, 8};

class AttendPlanTest : public testing::Test {
 protected:
  // Sequence s holds blocks 10 s, 10 s + 1, ...
  CacheRow Row(int sequence, int64_t position) {
    if (static_cast<int>(blocks_.size()) <= sequence) blocks_.resize(sequence + 1);
    std::vector<int32_t>& blocks = blocks_[sequence];
    if (blocks.empty()) {
      for (int32_t i = 0; i < 10; ++i) blocks.push_back(10 * sequence + i);
    }
    return {position, blocks.data()};
  }

  std::vector<int64_t> Values(const IndexRange& range) const {
    const std::vector<int64_t>& all = indices_.values();
    return {all.begin() + range.begin, all.begin() + range.begin + range.count};
  }

  std::vector<AttendGroup> Plan(const std::vector<CacheRow>& rows, int64_t window = 0,
                                const AttendLimits& limits = {}) {
    indices_ = IndexList();
    return PlanAttention(kShape, {.window = window}, rows, limits, &indices_);
  }

  std::vector<std::vector<int32_t>> blocks_ = std::vector<std::vector<int32_t>>(4);
  IndexList indices_;
};

TEST_F(AttendPlanTest, Decoding_RunsOfOne_AreOneGroup) {
  const auto groups = Plan({Row(0, 20), Row(1, 3), Row(2, 33)});
  ASSERT_EQ(groups.size(), 1u);
  const AttendGroup& g = groups[0];
  EXPECT_EQ(g.sequences, 3);
  EXPECT_EQ(g.queries, 1);
  EXPECT_EQ(g.blocks, 3);
  EXPECT_THAT(Values(g.rows), ElementsAre(0, 1, 2));
  EXPECT_THAT(Values(g.positions), ElementsAre(20, 3, 33));
  EXPECT_THAT(Values(g.tables), ElementsAre(0, 1, 0, 10, 0, 0, 20, 21, 22));
  EXPECT_THAT(Values(g.first), ElementsAre(0, 0, 0));
}

TEST_F(AttendPlanTest, PromptsAndSamples_PromptsAlone) {
  const auto groups = Plan({Row(0, 15), Row(0, 16), Row(0, 17), Row(1, 4), Row(2, 0), Row(2, 1)});
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_THAT(Values(groups[0].rows), ElementsAre(0, 1, 2));
  EXPECT_THAT(Values(groups[0].tables), ElementsAre(0, 1));
  EXPECT_THAT(Values(groups[0].positions), ElementsAre(15, 16, 17));
  EXPECT_THAT(Values(groups[1].rows), ElementsAre(4, 5));
  EXPECT_THAT(Values(groups[2].rows), ElementsAre(3));
  EXPECT_THAT(Values(groups[2].tables), ElementsAre(10));
}

TEST_F(AttendPlanTest, Window_BlocksBeforeIt_AreNotRead) {
  const auto groups = Plan({Row(0, 70), Row(1, 5)}, /*window=*/20);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].blocks, 2);
  EXPECT_THAT(Values(groups[0].tables), ElementsAre(3, 4, 10, 0));  // Keys 51 .. 70.
  EXPECT_THAT(Values(groups[0].first), ElementsAre(48, 0));
}

TEST_F(AttendPlanTest, SamePositionsOfOtherSequences_AreNoRun) {
  EXPECT_EQ(Plan({Row(0, 3), Row(1, 4)}).size(), 1u);
  EXPECT_EQ(Plan({Row(0, 3), Row(0, 5)})[0].queries, 1);
}

TEST_F(AttendPlanTest, Limits_CutRunsAndGroups) {
  std::vector<CacheRow> rows;
  for (int64_t p = 0; p < 7; ++p) rows.push_back(Row(0, p));
  const auto cut = Plan(rows, 0, {.queries = 3});
  ASSERT_EQ(cut.size(), 3u);
  EXPECT_THAT(Values(cut[1].positions), ElementsAre(3, 4, 5));
  EXPECT_EQ(cut[2].queries, 1);
  // 16 keys of 4 heads a query.
  EXPECT_EQ(Plan(rows, 0, {.scores = 2 * 16 * 4})[0].queries, 2);
  // 16 keys of 2 heads of 8 a sequence.
  const std::vector<CacheRow> singles = {Row(0, 1), Row(1, 1), Row(2, 1)};
  const auto gathered = Plan(singles, 0, {.gathered_elements = 2 * 16 * 16});
  ASSERT_EQ(gathered.size(), 2u);
  EXPECT_EQ(gathered[0].sequences, 2);
  EXPECT_EQ(Plan(singles, 0, {.gathered_elements = 1}).size(), 3u);
}

TEST_F(AttendPlanTest, Places_OnlyWhereGroupsChangeTheOrder) {
  const auto mixed = Plan({Row(1, 4), Row(0, 15), Row(0, 16), Row(2, 0)});
  ASSERT_EQ(mixed.size(), 2u);
  EXPECT_THAT(Values(mixed[0].rows), ElementsAre(1, 2));
  EXPECT_THAT(Values(mixed[1].rows), ElementsAre(0, 3));
  EXPECT_TRUE(Consecutive(Values(mixed[0].rows)));
  EXPECT_FALSE(Consecutive(Values(mixed[1].rows)));
  EXPECT_THAT(Values(PlacesOf(mixed, &indices_)), ElementsAre(2, 0, 1, 3));
  const auto decoding = Plan({Row(0, 20), Row(1, 3), Row(2, 33)});
  EXPECT_EQ(PlacesOf(decoding, &indices_).count, 0);
}

TEST_F(AttendPlanTest, NoRows_NoGroups) { EXPECT_TRUE(Plan({}).empty()); }

}  // namespace
}  // namespace retort::model
