#include "common/model/block_pool.h"

#include <map>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

TEST(BlockPoolTest, BlocksFor_EachLength_RoundsUp) {
  const std::pair<int64_t, int64_t> cases[] = {{0, 0}, {1, 1}, {16, 1}, {17, 2}, {32, 2}, {33, 3}};
  for (const auto& [tokens, blocks] : cases) EXPECT_EQ(BlocksFor(tokens), blocks) << tokens;
}

TEST(BlockPoolTest, Open_BeyondTheFreeBlocks_IsRefusedAndChangesNothing) {
  BlockPool pool(3);
  auto two = BlockSequence::Open(&pool, 17);
  ASSERT_TRUE(two.has_value());
  EXPECT_EQ(pool.promised(), 2);
  EXPECT_FALSE(BlockSequence::Open(&pool, 17).has_value());
  EXPECT_EQ(pool.promised(), 2);
  EXPECT_TRUE(BlockSequence::Open(&pool, 16).has_value());
}

TEST(BlockPoolTest, Append_TokenByToken_TakesABlockEverySixteen) {
  BlockPool pool(4);
  auto sequence = BlockSequence::Open(&pool, 64);
  for (int64_t t = 0; t < 64; ++t) {
    EXPECT_EQ(sequence->Append(1), std::nullopt);
    EXPECT_EQ(pool.free_blocks(), 4 - BlocksFor(t + 1)) << t;
    EXPECT_EQ(pool.free_blocks(), pool.promised()) << t;
  }
}

TEST(BlockPoolTest, Destroyed_HalfGrown_GivesBlocksAndPromiseBack) {
  BlockPool pool(4);
  {
    auto sequence = BlockSequence::Open(&pool, 64);
    sequence->Append(20);
    EXPECT_EQ(pool.free_blocks(), 2);
  }
  EXPECT_EQ(pool.free_blocks(), 4);
  EXPECT_EQ(pool.promised(), 0);
}

TEST(BlockPoolTest, Share_FullBlocksStayShared_PartialOneIsCopiedOnWrite) {
  BlockPool pool(8);
  auto prompt = BlockSequence::Open(&pool, 20);
  prompt->Append(20);
  auto a = BlockSequence::OpenSharing(&pool, 20, 40), b = BlockSequence::OpenSharing(&pool, 20, 40);
  ASSERT_TRUE(a.has_value() && b.has_value());
  a->Share(*prompt);
  b->Share(*prompt);
  const std::vector<int32_t> shared = prompt->blocks();
  EXPECT_EQ(a->blocks(), shared);
  EXPECT_EQ(pool.free_blocks(), 6);
  const auto copy = a->Append(1);
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(copy->from, shared[1]);
  EXPECT_EQ(a->blocks(), (std::vector<int32_t>{shared[0], copy->to}));
  EXPECT_EQ(pool.holders(shared[0]), 3);
  EXPECT_EQ(pool.holders(shared[1]), 2);
  EXPECT_EQ(a->Append(1), std::nullopt);
  prompt.reset();
  EXPECT_EQ(b->Append(1), std::nullopt);  // The only holder writes in place.
  EXPECT_EQ(b->blocks(), shared);
}

TEST(BlockPoolTest, Share_WholeBlocks_NothingIsCopied) {
  BlockPool pool(8);
  auto prompt = BlockSequence::Open(&pool, 32);
  prompt->Append(32);
  auto sample = BlockSequence::OpenSharing(&pool, 32, 33);
  EXPECT_EQ(pool.promised(), 1);
  sample->Share(*prompt);
  EXPECT_EQ(sample->Append(1), std::nullopt);
  EXPECT_EQ(sample->blocks().size(), 3u);
  EXPECT_EQ(pool.promised(), 0);
}

TEST(BlockPoolTest, Move_Assignment_GivesTheOldBlocksBack) {
  BlockPool pool(4);
  auto a = BlockSequence::Open(&pool, 32), b = BlockSequence::Open(&pool, 32);
  a->Append(32);
  b->Append(16);
  *a = *std::move(b);
  b.reset();
  EXPECT_EQ(pool.free_blocks(), 3);
  EXPECT_EQ(pool.promised(), 1);
  EXPECT_EQ(a->length(), 16);
}

// Sequences over a memory of numbers: every one should read what was written into it.
class Simulation {
 public:
  explicit Simulation(uint64_t seed) : rng_(seed, RngPurpose::kData, 0), pool_(24) {}

  void Step() {
    const uint64_t what = rng_.NextBelow(4);
    if (what == 0 || live_.empty()) {
      auto sequence = BlockSequence::Open(&pool_, 1 + rng_.NextBelow(100));
      if (sequence.has_value()) live_.push_back({*std::move(sequence), {}, false});
    } else if (what == 1) {
      Share(rng_.NextBelow(live_.size()));
    } else if (what == 2) {
      Append(live_[rng_.NextBelow(live_.size())]);
    } else {
      live_.erase(live_.begin() + static_cast<int64_t>(rng_.NextBelow(live_.size())));
    }
  }

  void Check() const {
    int64_t held = 0;
    for (int32_t b = 0; b < pool_.blocks(); ++b) held += pool_.holders(b) > 0 ? 1 : 0;
    ASSERT_EQ(held + pool_.free_blocks(), pool_.blocks());
    ASSERT_LE(pool_.promised(), pool_.free_blocks());
    for (const Live& l : live_) {
      for (size_t p = 0; p < l.want.size(); ++p) {
        ASSERT_EQ(memory_.at(Cell(l, static_cast<int64_t>(p))), l.want[p]) << p;
      }
    }
  }

  void End() {
    live_.clear();
    EXPECT_EQ(pool_.free_blocks(), pool_.blocks());
    EXPECT_EQ(pool_.promised(), 0);
  }

 private:
  struct Live {
    BlockSequence sequence;
    std::vector<int64_t> want;
    bool frozen = false;  // Its last block is shared in part: it may not grow.
  };
  using Place = std::pair<int32_t, int64_t>;  // Block and offset.

  static Place Cell(const Live& l, int64_t position) {
    return {l.sequence.blocks()[position / kBlockTokens], position % kBlockTokens};
  }

  void Share(size_t from) {
    const int64_t length = live_[from].sequence.length();
    auto sequence = BlockSequence::OpenSharing(&pool_, length, length + 1 + rng_.NextBelow(60));
    if (!sequence.has_value()) return;
    sequence->Share(live_[from].sequence);
    live_[from].frozen |= length % kBlockTokens != 0;
    live_.push_back({*std::move(sequence), live_[from].want, false});
  }

  void Append(Live& l) {
    if (l.frozen) return;
    const int64_t room = l.sequence.capacity() - l.sequence.length();
    const int64_t tokens = static_cast<int64_t>(rng_.NextBelow(room + 1));
    if (const auto copy = l.sequence.Append(tokens); copy.has_value()) {
      for (int64_t i = 0; i < kBlockTokens; ++i) {
        memory_[{copy->to, i}] = memory_[{copy->from, i}];
      }
    }
    for (int64_t i = 0; i < tokens; ++i) {
      l.want.push_back(++next_value_);
      memory_[Cell(l, static_cast<int64_t>(l.want.size()) - 1)] = next_value_;
    }
  }

  CounterRng rng_;
  BlockPool pool_;
  std::map<Place, int64_t> memory_;
  std::vector<Live> live_;
  int64_t next_value_ = 0;
};

TEST(BlockPoolTest, RandomOperations_EverySequenceKeepsItsTokens) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    for (int step = 0; step < 300; ++step) {
      simulation.Step();
      simulation.Check();
      if (HasFatalFailure()) return;
    }
    simulation.End();
  }
}

}  // namespace
}  // namespace retort::model
