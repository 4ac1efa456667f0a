#include "common/model/attention.h"

#include <algorithm>

#include "common/model/composite.h"
#include "common/model/ops.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

struct AttentionCase {
  const char* name;
  AttentionShape shape;
  std::vector<int64_t> lengths;
};

const AttentionCase kCases[] = {
    {"one token", {2, 1, 8}, {1}},
    {"grouped, ragged", {4, 2, 16}, {5, 1, 17, 3}},
    {"equal heads", {3, 3, 32}, {14, 14}},
    {"odd width", {2, 2, 6}, {9, 4}},
    {"longer than a block", {2, 1, 16}, {131, 64}},
    {"empty segment", {2, 2, 8}, {3, 0, 2}},
};

struct Problem {
  std::vector<int64_t> offsets{0};
  at::Tensor positions, qkv;
  RopeAngles angles;

  explicit Problem(const AttentionCase& c) {
    std::vector<int64_t> p;
    for (const int64_t length : c.lengths) {
      offsets.push_back(offsets.back() + length);
      for (int64_t i = 0; i < length; ++i) p.push_back(i);
    }
    positions = at::tensor(p, at::kLong);
    RopeTable table({}, c.shape.head_dim, 1024);
    angles = table.Cover(*std::max_element(c.lengths.begin(), c.lengths.end()));
    qkv = at::randn({offsets.back(), c.shape.qkv_width()}, at::kFloat);
  }
};

TEST(AttentionTest, Packed_ValueAndGradients_EqualComposite) {
  for (const AttentionCase& c : kCases) {
    Problem problem(c);
    const at::Tensor x = problem.qkv.set_requires_grad(true);
    const at::Tensor x64 = x.detach().to(at::kDouble).set_requires_grad(true);
    const at::Tensor y =
        RopeAttention(x, c.shape, problem.angles, problem.positions, problem.offsets);
    const at::Tensor y64 = CompositeAttention(x64, c.shape, problem.angles.cos.to(at::kDouble),
                                              problem.angles.sin.to(at::kDouble), problem.offsets);
    const at::Tensor seed = at::randn_like(y);
    y.backward(seed);
    y64.backward(seed.to(at::kDouble));
    EXPECT_LT(Error(y, y64), 2e-6) << c.name;
    EXPECT_LT(Error(x.grad(), x64.grad()), 5e-6) << c.name;
  }
}

// A token at a time, in pieces, all at once: the same bits, and the packed forward but for
// rounding.
TEST(AttentionTest, Cache_AnyFeeding_EqualBitsAndThePacked) {
  const AttentionShape shape{4, 2, 16};
  const AttentionCase c{"cache", shape, {11}};
  const Problem problem(c);
  const at::Tensor want =
      RopeAttention(problem.qkv, shape, problem.angles, problem.positions, problem.offsets);
  at::Tensor first_got;
  for (const int64_t piece : {1, 4, 11}) {
    KvCache cache(shape, /*slots=*/3, /*capacity=*/12);
    at::Tensor got = at::empty({11, shape.q_width()});
    for (int64_t first = 0; first < 11; first += piece) {
      const int64_t rows = std::min<int64_t>(piece, 11 - first);
      const std::vector<int64_t> slots(rows, 1);
      cache.Attend(problem.angles.view(),
                   problem.qkv.const_data_ptr<float>() + first * shape.qkv_width(), slots.data(),
                   problem.positions.const_data_ptr<int64_t>() + first, rows,
                   got.mutable_data_ptr<float>() + first * shape.q_width());
    }
    EXPECT_LT(Error(got, want), 1e-6) << "pieces of " << piece;
    if (piece == 1) first_got = got;
    EXPECT_TRUE(at::equal(got, first_got)) << "pieces of " << piece;
  }
}

TEST(AttentionTest, CopyPrefix_OtherSlot_ContinuesTheSame) {
  const AttentionShape shape{2, 1, 8};
  const Problem problem({"prefix", shape, {6}});
  KvCache cache(shape, 2, 6);
  const std::vector<int64_t> slots(5, 0);
  at::Tensor out = at::empty({5, shape.q_width()});
  cache.Attend(problem.angles.view(), problem.qkv.const_data_ptr<float>(), slots.data(),
               problem.positions.const_data_ptr<int64_t>(), 5, out.mutable_data_ptr<float>());
  cache.CopyPrefix(0, 1, 5);
  at::Tensor last[2];
  for (int64_t slot = 0; slot < 2; ++slot) {
    last[slot] = at::empty({1, shape.q_width()});
    cache.Attend(problem.angles.view(), problem.qkv.const_data_ptr<float>() + 5 * shape.qkv_width(),
                 &slot, problem.positions.const_data_ptr<int64_t>() + 5, 1,
                 last[slot].mutable_data_ptr<float>());
  }
  EXPECT_TRUE(at::equal(last[0], last[1]));
}

TEST(AttentionTest, Backward_OneOrTwoThreads_EqualBits) {
  const AttentionCase c{"threads", {8, 4, 16}, {70, 64, 90, 31}};
  Problem problem(c);
  at::Tensor gradients[2];
  for (int threads = 1; threads <= 2; ++threads) {
    const tensor::ThreadCount count(threads);
    const at::Tensor x = problem.qkv.detach().set_requires_grad(true);
    RopeAttention(x, c.shape, problem.angles, problem.positions, problem.offsets).sum().backward();
    gradients[threads - 1] = x.grad();
  }
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
}

}  // namespace
}  // namespace retort::model
