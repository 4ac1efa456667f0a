#include "common/model/portable_attention.h"

#include <algorithm>
#include <vector>

#include "common/model/composite.h"
#include "common/model/ops.h"
#include "gtest/gtest.h"
#include "testing/test_device.h"

namespace retort::model {
namespace {

struct Case {
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

const Case kCases[] = {
    {"one token", {2, 1, 8}, {1}},
    {"grouped, ragged", {6, 2, 16}, {5, 1, 17, 3}},
    {"empty segment", {2, 2, 8}, {3, 0, 2}},
    {"several chunks", {2, 1, 8}, {1100, 40}},
    {"batches of like lengths", {4, 2, 8}, {100, 70, 110, 75, 3, 90}},
    {"window", {4, 2, 16}, {5, 1, 17, 3}, With({.scale = 0.25f}, 4, 0, 16)},
    {"window of one", {2, 1, 8}, {7, 2}, With({.scale = 0.4f}, 1, 0, 8)},
    {"window over chunks", {1, 1, 8}, {1500}, With({.scale = 0.3f}, 200, 0, 8)},
    {"soft cap and window", {2, 2, 12}, {90, 7}, With({.scale = 0.5f}, 9, 2.0f, 12)},
    {"partial rotary", {3, 3, 12}, {8, 20}, With({.scale = 0.3f}, 0, 0, 6)},
    {"interleaved partial rotary", {3, 1, 16}, {8, 20}, With({.scale = 0.3f}, 0, 0, 8, true)},
    {"no rotary, odd width", {2, 2, 7}, {6, 19}, With({.scale = 0.3f}, 0, 0, 0)},
};

struct Problem {
  AttentionShape shape;
  AttentionRule rule;
  std::vector<int64_t> offsets{0};
  RopeAngles angles;
  at::Tensor qkv, positions, seed;

  explicit Problem(const Case& c) : shape(c.shape), rule(c.rule) {
    std::vector<int64_t> all;
    for (const int64_t length : c.lengths) {
      offsets.push_back(offsets.back() + length);
      for (int64_t i = 0; i < length; ++i) all.push_back(i);
    }
    positions = at::tensor(all, at::kLong);
    RopeTable table({}, c.rule.rotary_dim, 2048);
    angles = table.Cover(*std::max_element(c.lengths.begin(), c.lengths.end()));
    qkv = at::randn({offsets.back(), c.shape.qkv_width()});
    seed = at::randn({offsets.back(), c.shape.q_width()});
  }

  Problem To(const at::Device& device, at::ScalarType type) const {
    Problem there = *this;
    there.angles = {angles.cos.to(device), angles.sin.to(device)};
    there.qkv = qkv.to(device, type);
    there.positions = positions.to(device);
    return there;
  }
};

struct Result {
  at::Tensor out, gradient;
};

// Through the differentiable op, which picks the implementation.
Result Compute(const Problem& problem) {
  const at::Tensor x = problem.qkv.detach().clone().set_requires_grad(true);
  const at::Tensor y = RopeAttention(x, problem.shape, problem.rule, problem.angles,
                                     SegmentsOf(problem.shape, problem.positions, problem.offsets));
  y.backward(problem.seed.to(x.device(), x.scalar_type()));
  return {y.detach().cpu(), x.grad().cpu()};
}

TEST(PortableAttentionTest, ValueAndGradients_EveryRule_EqualTheCpus) {
  for (const Case& c : kCases) {
    const Problem problem(c);
    const Result want = Compute(problem);
    const Result got = Compute(problem.To(TestDevice(), at::kFloat));
    EXPECT_LT(Error(got.out, want.out), 5e-6) << c.name;
    EXPECT_LT(Error(got.gradient, want.gradient), 1e-5) << c.name;
    const SegmentPlan plan = portable::PlanSegments(c.shape, problem.offsets, at::kCPU);
    const portable::AttentionTensors in{c.shape,           c.rule, problem.angles, problem.qkv,
                                        problem.positions, &plan};
    const portable::AttentionOutput direct = portable::AttentionForward(in);
    EXPECT_LT(Error(direct.out, want.out), 5e-6) << c.name;
    EXPECT_LT(Error(portable::AttentionBackward(in, direct, problem.seed), want.gradient), 1e-5)
        << c.name;
  }
}

TEST(PortableAttentionTest, Bf16_EveryRule_NearTheWidened) {
  for (const Case& c : kCases) {
    const Problem problem(c);
    const Problem half = problem.To(TestDevice(), at::kBFloat16);
    Problem rounded = problem;
    rounded.qkv = half.qkv.cpu().to(at::kFloat);
    rounded.seed = problem.seed.to(at::kBFloat16).to(at::kFloat);
    const Result want = Compute(rounded);
    const Result got = Compute(half);
    EXPECT_EQ(got.out.scalar_type(), at::kBFloat16);
    const auto apart = [](const at::Tensor& a, const at::Tensor& b) {
      return ((a.to(at::kFloat) - b).abs().max() / b.abs().max()).item<double>();
    };
    EXPECT_LT(apart(got.out, want.out), 1e-2) << c.name;
    EXPECT_LT(apart(got.gradient, want.gradient), 2e-2) << c.name;
  }
}

TEST(PortableAttentionTest, Repeated_EqualBits) {
  const Problem problem(kCases[4]);
  const Result a = Compute(problem.To(TestDevice(), at::kFloat));
  const Result b = Compute(problem.To(TestDevice(), at::kFloat));
  EXPECT_TRUE(at::equal(a.out, b.out) && at::equal(a.gradient, b.gradient));
}

}  // namespace
}  // namespace retort::model
