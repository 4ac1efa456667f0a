#include "worker/learner/rank_share.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/learner/ppo_update.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

TEST(RankShareTest, MicroBatches_ThreeRanks_EverySampleOnceWithinTheLimit) {
  const std::vector<int64_t> lengths = {5, 3, 8, 1, 9, 4, 7, 2, 6, 10};
  const std::vector<int64_t> samples = {9, 2, 4, 7, 0, 3};
  std::multiset<int64_t> seen;
  for (int rank = 0; rank < 3; ++rank) {
    const auto groups = MicroBatchesOfRank(samples, lengths, 12, rank, 3);
    ASSERT_TRUE(groups.ok()) << groups.status();
    for (const std::vector<int64_t>& group : *groups) {
      int64_t tokens = 0;
      for (const int64_t sample : group) tokens += lengths[sample];
      EXPECT_LE(tokens, 12);
      seen.insert(group.begin(), group.end());
    }
  }
  EXPECT_EQ(seen, std::multiset<int64_t>(samples.begin(), samples.end()));
}

TEST(RankShareTest, MicroBatches_RankWithoutSamples_Empty) {
  const auto groups = MicroBatchesOfRank({0}, {5}, 12, 1, 2);
  ASSERT_TRUE(groups.ok()) << groups.status();
  EXPECT_TRUE(groups->empty());
}

TEST(RankShareTest, MicroBatches_SampleTooLong_NamesTheField) {
  const auto groups = MicroBatchesOfRank({0}, {13}, 12, 0, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(groups.status()));
  EXPECT_THAT(groups.status().ToString(),
              HasSubstr("optimizer.micro_batch_tokens is 12, but a sample has 13 tokens"));
}

TEST(MiniBatchesTest, Epoch_EachSampleOnceInAnOrderOfItsOwn) {
  const auto first = MiniBatchesOfEpoch(/*seed=*/1, /*step=*/3, /*epoch=*/0, /*samples=*/10,
                                        /*mini_batch_size=*/4);
  ASSERT_EQ(first.size(), 3);
  EXPECT_EQ(first[2].size(), 2);
  std::set<int64_t> seen;
  for (const auto& piece : first) seen.insert(piece.begin(), piece.end());
  EXPECT_EQ(seen.size(), 10);
  EXPECT_EQ(first, MiniBatchesOfEpoch(1, 3, 0, 10, 4));
  EXPECT_NE(first, MiniBatchesOfEpoch(1, 3, 1, 10, 4));
  EXPECT_NE(first, MiniBatchesOfEpoch(1, 4, 0, 10, 4));
  EXPECT_NE(first, MiniBatchesOfEpoch(2, 3, 0, 10, 4));
}

}  // namespace
}  // namespace retort::worker
