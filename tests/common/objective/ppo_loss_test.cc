#include "common/objective/ppo_loss.h"

#include <cmath>
#include <limits>

#include "common/tensor/aten.h"
#include "gtest/gtest.h"

namespace retort::objective {
namespace {

// A ragged mini-batch [4, 6] whose rows hold 6, 3, 1 and 4 tokens.
struct Batch {
  PpoLossInputs inputs;
  int64_t tokens = 14;
};

Batch Ragged() {
  const auto noise = [](double phase) {
    return (at::arange(24, at::kDouble) * 1.7 + phase).sin().to(at::kFloat).view({4, 6});
  };
  Batch batch;
  PpoLossInputs& in = batch.inputs;
  in.old_log_probs = noise(0) - 1.5;
  in.log_probs = in.old_log_probs + 0.3 * noise(1);
  in.old_values = noise(2);
  in.values = in.old_values + 0.3 * noise(3);
  in.advantages = noise(4);
  in.returns = noise(5);
  in.entropy = noise(6) + 2;
  const at::Tensor lengths = at::tensor({6, 3, 1, 4}).unsqueeze(1);
  in.mask = at::arange(6).unsqueeze(0) < lengths;
  return batch;
}

PpoLossInputs Rows(const PpoLossInputs& in, int64_t begin, int64_t end) {
  PpoLossInputs out;
  out.log_probs = in.log_probs.slice(0, begin, end);
  out.values = in.values.slice(0, begin, end);
  out.old_log_probs = in.old_log_probs.slice(0, begin, end);
  out.old_values = in.old_values.slice(0, begin, end);
  out.advantages = in.advantages.slice(0, begin, end);
  out.returns = in.returns.slice(0, begin, end);
  out.mask = in.mask.slice(0, begin, end);
  out.entropy = in.entropy.slice(0, begin, end);
  return out;
}

PpoLossInputs Packed(const PpoLossInputs& in) {
  PpoLossInputs out = in;
  for (at::Tensor* x : {&out.log_probs, &out.values, &out.old_log_probs, &out.old_values,
                        &out.advantages, &out.returns, &out.entropy}) {
    *x = x->masked_select(in.mask);
  }
  out.mask = at::Tensor();
  return out;
}

struct Gradients {
  at::Tensor log_probs, values, sums;
};

// Runs `parts` one after the other, as micro-batches do.
template <typename Split>
Gradients Backward(PpoLossInputs in, int64_t tokens, const Split& split) {
  in.log_probs = in.log_probs.clone().set_requires_grad(true);
  in.values = in.values.clone().set_requires_grad(true);
  at::Tensor sums = NewPpoSums();
  for (const PpoLossInputs& micro_batch : split(in)) {
    const PpoLossPart part = PpoLoss(micro_batch, PpoLossOptions{}, tokens);
    TotalLoss(part.terms).backward();
    sums += part.sums;
  }
  return {in.log_probs.grad(), in.values.grad(), sums};
}

TEST(PpoLossTest, Policy_HandValues) {
  PpoLossInputs in;
  in.old_log_probs = at::zeros({3}, at::kDouble);
  in.log_probs = at::tensor({1.5, 0.7, 1.1}).log();
  in.advantages = at::tensor({1.0, -1.0, 0.5});
  in.values = in.old_values = in.returns = at::zeros({3}, at::kDouble);
  const PpoMiniBatchStatistics got =
      FinishPpoStatistics(PpoLoss(in, PpoLossOptions{}, 3).sums, PpoLossOptions{});
  EXPECT_NEAR(got.policy_loss, -0.3166667, 1e-7);
  EXPECT_NEAR(got.clipfrac, 2.0 / 3, 1e-12);
  EXPECT_FALSE(got.entropy.has_value());
}

TEST(PpoLossTest, Value_HandValue) {
  PpoLossInputs in;
  in.old_log_probs = in.log_probs = in.advantages = at::zeros({1}, at::kDouble);
  in.values = at::tensor({0.9});
  in.old_values = at::tensor({0.5});
  in.returns = at::tensor({1.0});
  const PpoMiniBatchStatistics got =
      FinishPpoStatistics(PpoLoss(in, PpoLossOptions{}, 1).sums, PpoLossOptions{});
  EXPECT_NEAR(got.value_loss, 0.045, 1e-12);
  EXPECT_EQ(got.value_clipfrac, 1);
  EXPECT_TRUE(std::isnan(got.returns_var));
}

TEST(PpoLossTest, MicroBatchesAndPacking_SameGradientAndSums) {
  const Batch batch = Ragged();
  const Gradients whole = Backward(batch.inputs, batch.tokens, [](const PpoLossInputs& in) {
    return std::vector<PpoLossInputs>{in};
  });
  const Gradients split = Backward(batch.inputs, batch.tokens, [](const PpoLossInputs& in) {
    return std::vector<PpoLossInputs>{Rows(in, 0, 1), Rows(in, 1, 3), Rows(in, 3, 4)};
  });
  const Gradients packed = Backward(batch.inputs, batch.tokens, [](const PpoLossInputs& in) {
    return std::vector<PpoLossInputs>{Packed(Rows(in, 0, 2)), Packed(Rows(in, 2, 4))};
  });
  for (const Gradients* other : {&split, &packed}) {
    EXPECT_TRUE(at::equal(whole.log_probs, other->log_probs));
    EXPECT_TRUE(at::equal(whole.values, other->values));
    EXPECT_TRUE(at::allclose(whole.sums, other->sums, 1e-12, 1e-12));
  }
}

TEST(PpoLossTest, OffTheMask_NanOrHuge_NoEffectAndNoGradient) {
  const Batch batch = Ragged();
  PpoLossInputs dirty = batch.inputs;
  const auto spoil = [&](const at::Tensor& x, float fill) {
    return at::where(dirty.mask, x, at::full({}, fill));
  };
  dirty.log_probs = spoil(dirty.log_probs, 1e30f);
  dirty.values = spoil(dirty.values, std::numeric_limits<float>::quiet_NaN());
  dirty.advantages = spoil(dirty.advantages, std::numeric_limits<float>::quiet_NaN());
  dirty.returns = spoil(dirty.returns, 1e30f);
  const auto whole = [](const PpoLossInputs& in) { return std::vector<PpoLossInputs>{in}; };
  const Gradients clean = Backward(batch.inputs, batch.tokens, whole);
  const Gradients other = Backward(dirty, batch.tokens, whole);
  EXPECT_TRUE(at::equal(clean.sums, other.sums));
  EXPECT_TRUE(at::equal(clean.log_probs, other.log_probs));
  EXPECT_TRUE(at::equal(clean.values, other.values));
}

TEST(PpoLossTest, Weights_ScaleThePolicyLossAlone) {
  Batch batch = Ragged();
  const auto whole = [](const PpoLossInputs& in) { return std::vector<PpoLossInputs>{in}; };
  const Gradients plain = Backward(batch.inputs, batch.tokens, whole);
  batch.inputs.weights = at::full({4, 6}, 0.5f);
  const Gradients weighted = Backward(batch.inputs, batch.tokens, whole);
  EXPECT_TRUE(at::allclose(weighted.log_probs, 0.5 * plain.log_probs));
  EXPECT_TRUE(at::equal(weighted.values, plain.values));
}

TEST(PpoLossTest, RankWithoutSamples_AddsZeros) {
  const Batch batch = Ragged();
  const PpoLossPart part = PpoLoss(Rows(batch.inputs, 2, 2), PpoLossOptions{}, batch.tokens);
  EXPECT_TRUE(at::equal(part.sums, NewPpoSums()));
  EXPECT_EQ(TotalLoss(part.terms).item<double>(), 0);
}

TEST(PpoLossTest, Skip_MeanRatioAboveThreshold_InfiniteToo_NanNot) {
  const struct {
    float change;
    bool skip;
  } cases[] = {{2.3f, false},
               {2.31f, true},
               {1000.0f, true},
               {std::numeric_limits<float>::quiet_NaN(), false}};
  for (const auto& c : cases) {
    PpoLossInputs in;
    in.old_log_probs = in.values = in.old_values = in.advantages = in.returns = at::zeros({4});
    in.log_probs = at::full({4}, c.change);
    const PpoMiniBatchStatistics got =
        FinishPpoStatistics(PpoLoss(in, PpoLossOptions{}, 4).sums, PpoLossOptions{});
    EXPECT_EQ(got.skip, c.skip) << c.change;
  }
}

TEST(PpoLossTest, EarlyStop_AboveOneAndAHalfTargets) {
  PpoMiniBatchStatistics last;
  last.policykl = 0.15;
  EXPECT_FALSE(ShouldStopEarly(last, 0.1));
  last.policykl = 0.1501;
  EXPECT_TRUE(ShouldStopEarly(last, 0.1));
}

}  // namespace
}  // namespace retort::objective
