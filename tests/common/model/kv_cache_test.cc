#include "common/model/kv_cache.h"

#include <algorithm>
#include <vector>

#include "common/model/composite.h"
#include "common/model/ops.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

struct CacheCase {
  const char* name;
  AttentionShape shape;
  int64_t length;
  AttentionRule rule;
};

const CacheCase kCases[] = {
    {"within a block", {2, 1, 8}, 5, {.scale = 0.3f, .rotary_dim = 8}},
    {"many blocks", {4, 2, 16}, 75, {.scale = 0.25f, .rotary_dim = 16}},
    {"odd width", {3, 3, 7}, 33, {.scale = 0.4f}},
    {"window", {4, 2, 16}, 75, {.scale = 0.25f, .window = 20, .rotary_dim = 16}},
    {"window of one", {2, 2, 8}, 20, {.scale = 0.25f, .window = 1, .rotary_dim = 8}},
    {"window of a block", {2, 1, 8}, 50, {.scale = 0.25f, .window = 16, .rotary_dim = 8}},
    {"soft cap", {4, 1, 12}, 40, {.scale = 0.5f, .soft_cap = 1.5f, .rotary_dim = 12}},
    {"soft cap and window",
     {2, 2, 12},
     40,
     {.scale = 0.5f, .soft_cap = 1.5f, .window = 9, .rotary_dim = 6, .interleaved = true}},
};

struct Problem {
  at::Tensor qkv, positions;
  RopeAngles angles;

  explicit Problem(const CacheCase& c)
      : qkv(at::randn({c.length, c.shape.qkv_width()})),
        positions(at::arange(c.length, at::kLong)) {
    RopeTable table({}, c.rule.rotary_dim, 1024);
    angles = table.Cover(c.length);
  }
};

// A sequence that lives in the cache, fed from a problem.
struct Fed {
  CacheCase c;
  Problem problem;
  BlockSequence sequence;
  at::Tensor out;

  Fed(const CacheCase& which, const Problem& from, BlockPool* pool)
      : c(which),
        problem(from),
        sequence(*BlockSequence::Open(pool, which.length)),
        out(at::full({which.length, which.shape.q_width()}, NAN)) {}

  void Feed(KvCache* cache, int64_t tokens) {
    const int64_t first = sequence.length();
    const auto copy = sequence.Append(tokens);
    if (copy.has_value()) cache->CopyBlock(*copy);
    std::vector<CacheRow> rows;
    for (int64_t i = 0; i < tokens; ++i) {
      rows.push_back({first + i, sequence.blocks().data()});
    }
    const float* const qkv = problem.qkv.const_data_ptr<float>() + first * c.shape.qkv_width();
    cache->Store(0, c.rule, problem.angles.view(), qkv, rows);
    cache->Attend(0, c.rule, problem.angles.view(), qkv, rows,
                  out.mutable_data_ptr<float>() + first * c.shape.q_width());
  }
};

TEST(KvCacheTest, AnyFeeding_EqualBitsAndThePacked) {
  for (const CacheCase& c : kCases) {
    const Problem problem(c);
    const at::Tensor want = RopeAttention(problem.qkv, c.shape, c.rule, problem.angles,
                                          SegmentsOf(c.shape, problem.positions, {0, c.length}));
    at::Tensor first_got;
    for (const int64_t piece : {int64_t{1}, int64_t{4}, int64_t{19}, c.length}) {
      BlockPool pool(8);
      KvCache cache(c.shape, 1, pool.blocks());
      Fed fed(c, problem, &pool);
      while (fed.sequence.length() < c.length) {
        fed.Feed(&cache, std::min(piece, c.length - fed.sequence.length()));
      }
      EXPECT_LT(Error(fed.out, want), 2e-6) << c.name << ", pieces of " << piece;
      if (!first_got.defined()) first_got = fed.out;
      EXPECT_TRUE(at::equal(fed.out, first_got)) << c.name << ", pieces of " << piece;
    }
  }
}

// Blocks that others used before and that lie in another order.
TEST(KvCacheTest, OtherBlocksAndThreads_EqualBits) {
  const CacheCase& c = kCases[3];
  const Problem problem(c), other(c);
  at::Tensor want;
  for (const int threads : {1, 2, 3}) {
    const tensor::ThreadCount count(threads);
    BlockPool pool(24);
    KvCache cache(c.shape, 1, pool.blocks());
    Fed before(c, other, &pool);
    before.Feed(&cache, c.length);
    Fed between(c, other, &pool);
    Fed fed(c, problem, &pool);
    if (threads == 3) before = Fed(c, other, &pool);  // Gives dirty blocks back.
    for (int64_t i = 0; i < c.length; ++i) {
      between.Feed(&cache, 1);
      fed.Feed(&cache, 1);
    }
    if (!want.defined()) want = fed.out;
    EXPECT_TRUE(at::equal(fed.out, want)) << threads;
  }
}

TEST(KvCacheTest, CopyOnWrite_BothGoOnUndisturbed) {
  const CacheCase& c = kCases[1];
  const Problem problem(c), other(c);
  BlockPool pool(24);
  KvCache cache(c.shape, 1, pool.blocks());
  Fed alone(c, problem, &pool);
  alone.Feed(&cache, c.length);
  std::vector<Fed> samples;
  {
    Fed prompt(c, problem, &pool);
    prompt.Feed(&cache, 21);
    for (int i = 0; i < 2; ++i) {
      samples.emplace_back(c, i == 0 ? problem : other, &pool);
      samples[i].sequence = *BlockSequence::OpenSharing(&pool, 21, c.length);
      samples[i].sequence.Share(prompt.sequence);
    }
  }
  for (int64_t t = 21; t < c.length; ++t) {
    samples[1].Feed(&cache, 1);
    samples[0].Feed(&cache, 1);
  }
  const int64_t rest = c.length - 21;
  EXPECT_TRUE(at::equal(samples[0].out.narrow(0, 21, rest), alone.out.narrow(0, 21, rest)));
  EXPECT_FALSE(at::equal(samples[1].out.narrow(0, 21, rest), alone.out.narrow(0, 21, rest)));
}

TEST(KvCacheTest, CopyBlock_EveryLayer_IsCopied) {
  const CacheCase& c = kCases[0];
  const Problem problem(c);
  KvCache cache(c.shape, 3, 2);
  const int32_t source = 0, target = 1;
  std::vector<CacheRow> rows;
  for (int64_t i = 0; i < c.length; ++i) rows.push_back({i, &source});
  for (int64_t layer = 0; layer < 3; ++layer) {
    const at::Tensor qkv = problem.qkv * static_cast<double>(layer + 1);
    cache.Store(layer, c.rule, problem.angles.view(), qkv.const_data_ptr<float>(), rows);
  }
  cache.CopyBlock({source, target});
  for (int64_t layer = 0; layer < 3; ++layer) {
    at::Tensor last[2] = {at::empty({c.shape.q_width()}), at::empty({c.shape.q_width()})};
    for (const int32_t* block : {&source, &target}) {
      const CacheRow row{c.length - 1, block};
      cache.Attend(layer, c.rule, problem.angles.view(),
                   problem.qkv.const_data_ptr<float>() + (c.length - 1) * c.shape.qkv_width(),
                   {&row, 1}, last[*block].mutable_data_ptr<float>());
    }
    EXPECT_TRUE(at::equal(last[0], last[1])) << layer;
  }
}

TEST(KvCacheTest, BlockBytes_CountsKeysAndValuesOfAllLayers) {
  EXPECT_EQ(KvCache::BlockBytes({4, 2, 8}, 3), 2 * 3 * 2 * 8 * 16 * 4);
}

}  // namespace
}  // namespace retort::model
