#include "common/data/packing.h"

#include <algorithm>
#include <numeric>

#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Groups = std::vector<std::vector<int64_t>>;

TEST(PackingTest, PackMicroBatches_Lengths_BestFitDecreasing) {
  struct Case {
    const char* name;
    std::vector<int64_t> lengths;
    int64_t max_tokens;
    Groups want;
  };
  const Case cases[] = {
      {"nothing", {}, 8, {}},
      {"one", {8}, 8, {{0}}},
      {"all fit", {1, 2, 3}, 8, {{0, 1, 2}}},
      {"none fit together", {5, 6, 7}, 8, {{0}, {1}, {2}}},
      {"fullest group first", {3, 5, 6, 2}, 8, {{0, 1}, {2, 3}}},
      {"equal lengths by index", {4, 4, 4}, 8, {{0, 1}, {2}}},
      {"groups by first index", {1, 8, 7}, 8, {{0, 2}, {1}}},
  };
  for (const Case& c : cases) {
    const auto groups = PackMicroBatches(c.lengths, c.max_tokens);
    ASSERT_TRUE(groups.ok()) << c.name;
    EXPECT_EQ(*groups, c.want) << c.name;
  }
}

TEST(PackingTest, PackMicroBatches_LengthOutOfRange_NamesTheSequence) {
  const std::vector<int64_t> too_long = {3, 9}, empty = {3, 2, 0};
  const auto a = PackMicroBatches(too_long, 8);
  EXPECT_EQ(a.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(a.status().message()),
              HasSubstr("sequence 1 has 9 tokens; expected 1 to 8"));
  const auto b = PackMicroBatches(empty, 8);
  EXPECT_THAT(std::string(b.status().message()), HasSubstr("sequence 2 has 0 tokens"));
}

TEST(PackingTest, PackMicroBatches_RandomLengths_EveryIndexOnceAndNoGroupTooLong) {
  CounterRng rng(7, RngPurpose::kData, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<int64_t> lengths(rng.NextBelow(200));
    for (int64_t& length : lengths) length = 1 + static_cast<int64_t>(rng.NextBelow(64));
    const auto groups = PackMicroBatches(lengths, 64);
    ASSERT_TRUE(groups.ok());
    std::vector<int64_t> seen;
    for (const std::vector<int64_t>& group : *groups) {
      int64_t tokens = 0;
      for (const int64_t i : group) tokens += lengths[i];
      EXPECT_LE(tokens, 64);
      EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
      seen.insert(seen.end(), group.begin(), group.end());
    }
    std::sort(seen.begin(), seen.end());
    std::vector<int64_t> all(lengths.size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
  }
}

TEST(PackingTest, BalanceRanks_Costs_LongestFirstToLeastLoaded) {
  const std::vector<int64_t> costs = {1, 7, 3, 5};
  EXPECT_THAT(BalanceRanks(costs, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(BalanceRanks(costs, 1), ElementsAre(ElementsAre(0, 1, 2, 3)));
}

TEST(PackingTest, BalanceRanks_MoreRanksThanItems_SomeAreEmpty) {
  const std::vector<int64_t> costs = {2, 9};
  EXPECT_THAT(BalanceRanks(costs, 3), ElementsAre(ElementsAre(1), ElementsAre(0), IsEmpty()));
}

TEST(PackingTest, BalanceRanks_EqualCosts_EqualCounts) {
  for (const int64_t cost : {0, 5}) {
    const std::vector<int64_t> costs(12, cost);
    for (const std::vector<int64_t>& rank : BalanceRanks(costs, 4)) EXPECT_EQ(rank.size(), 3u);
  }
}

}  // namespace
}  // namespace retort::data
