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
  AttentionRule rule = PlainRule(shape);
};

AttentionRule With(AttentionRule rule, int64_t window, float soft_cap, int64_t rotary_dim,
                   bool interleaved = false) {
  rule.window = window;
  rule.soft_cap = soft_cap;
  rule.rotary_dim = rotary_dim;
  rule.interleaved = interleaved;
  return rule;
}

const AttentionCase kCases[] = {
    {"one token", {2, 1, 8}, {1}},
    {"grouped, ragged", {4, 2, 16}, {5, 1, 17, 3}},
    {"equal heads", {3, 3, 32}, {14, 14}},
    {"odd width", {2, 2, 6}, {9, 4}},
    {"longer than a block", {2, 1, 16}, {131, 64}},
    {"empty segment", {2, 2, 8}, {3, 0, 2}},
    {"window", {4, 2, 16}, {5, 1, 17, 3}, With({.scale = 0.25f}, 4, 0, 16)},
    {"window of one", {2, 1, 8}, {7, 2}, With({.scale = 0.4f}, 1, 0, 8)},
    {"window over blocks", {2, 1, 16}, {131, 200}, With({.scale = 0.25f}, 70, 0, 16)},
    {"window beyond the segment", {2, 2, 8}, {9, 3}, With({.scale = 0.3f}, 50, 0, 8)},
    {"soft cap", {4, 2, 16}, {5, 33}, With({.scale = 0.5f}, 0, 1.5f, 16)},
    {"soft cap and window", {2, 2, 12}, {90, 7}, With({.scale = 0.5f}, 9, 2.0f, 12)},
    {"partial rotary", {3, 3, 12}, {8, 20}, With({.scale = 0.3f}, 0, 0, 6)},
    {"interleaved partial rotary", {3, 1, 16}, {8, 20}, With({.scale = 0.3f}, 0, 0, 8, true)},
    {"no rotary, odd width", {2, 2, 7}, {6, 19}, With({.scale = 0.3f}, 0, 0, 0)},
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
    RopeTable table({}, c.rule.rotary_dim, 1024);
    angles = table.Cover(*std::max_element(c.lengths.begin(), c.lengths.end()));
    qkv = at::randn({offsets.back(), c.shape.qkv_width()}, at::kFloat);
  }
};

at::Tensor Attend(const AttentionCase& c, const Problem& problem, const at::Tensor& qkv,
                  const std::vector<int64_t>& offsets) {
  const at::Tensor positions = problem.positions.narrow(0, 0, offsets.back());
  return RopeAttention(qkv, c.shape, c.rule, problem.angles,
                       SegmentsOf(c.shape, positions, offsets));
}

TEST(AttentionTest, Packed_ValueAndGradients_EqualComposite) {
  for (const AttentionCase& c : kCases) {
    Problem problem(c);
    const at::Tensor x = problem.qkv.set_requires_grad(true);
    const at::Tensor x64 = x.detach().to(at::kDouble).set_requires_grad(true);
    const at::Tensor y = Attend(c, problem, x, problem.offsets);
    const at::Tensor y64 =
        CompositeAttention(x64, c.shape, c.rule, problem.angles.cos.to(at::kDouble),
                           problem.angles.sin.to(at::kDouble), problem.offsets);
    const at::Tensor seed = at::randn_like(y);
    y.backward(seed);
    y64.backward(seed.to(at::kDouble));
    EXPECT_LT(Error(y, y64), 2e-6) << c.name;
    EXPECT_LT(Error(x.grad(), x64.grad()), 5e-6) << c.name;
  }
}

TEST(AttentionTest, Backward_OneOrTwoThreads_EqualBits) {
  const AttentionCase c{"threads", {8, 4, 16}, {70, 64, 90, 31}};
  Problem problem(c);
  at::Tensor gradients[2];
  for (int threads = 1; threads <= 2; ++threads) {
    const tensor::ThreadCount count(threads);
    const at::Tensor x = problem.qkv.detach().set_requires_grad(true);
    Attend(c, problem, x, problem.offsets).sum().backward();
    gradients[threads - 1] = x.grad();
  }
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
}

TEST(AttentionTest, Forward_SegmentCutShort_EqualBits) {
  for (AttentionCase c : kCases) {
    c.lengths = {*std::max_element(c.lengths.begin(), c.lengths.end())};
    Problem problem(c);
    const at::Tensor whole = Attend(c, problem, problem.qkv, {0, c.lengths[0]});
    for (int64_t cut = 1; cut <= std::min<int64_t>(7, c.lengths[0] - 1); ++cut) {
      const int64_t rows = c.lengths[0] - cut;
      const at::Tensor part = Attend(c, problem, problem.qkv.narrow(0, 0, rows), {0, rows});
      EXPECT_TRUE(at::equal(part, whole.narrow(0, 0, rows))) << c.name << ", without " << cut;
    }
  }
}

}  // namespace
}  // namespace retort::model
