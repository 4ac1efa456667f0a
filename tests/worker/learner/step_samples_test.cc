#include "worker/learner/step_samples.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "worker/learner/rank_fixture.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class StepSamplesTest : public testing::Test {
 protected:
  absl::StatusOr<StepSamples> Assemble() {
    return AssembleSamples(ShapeOf(spec_, policy_, 4), bundles_.rollouts, bundles_.scores);
  }

  PolicyText policy_ = tiny::TinyPolicy();
  const v1::JobSpec spec_ = tiny::TinyPpoSpec(/*prompts=*/5, /*samples_per_prompt=*/3);
  tiny::TinyBundles bundles_ =
      tiny::RandomBundles(spec_, 4, /*bundle_prompts=*/2, policy_.mask.limit);
};

TEST_F(StepSamplesTest, Assemble_RewardsThatGaveUp_AreCountedOverBundles) {
  EXPECT_EQ(Assemble()->reward_gave_up, (std::vector<int64_t>{0, 0}));
  bundles_.rollouts[0].reward_gave_up = {0, 2};
  bundles_.rollouts[2].reward_gave_up = {1, 1};
  EXPECT_EQ(Assemble()->reward_gave_up, (std::vector<int64_t>{1, 3}));
}

TEST_F(StepSamplesTest, Assemble_ThreeBundles_FlatOrderAndPadding) {
  const auto samples = Assemble();
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->count(), 15);
  const artifact::Rollout& second = bundles_.rollouts[1];  // Slots 2 and 3: flat samples 6 .. 11.
  EXPECT_EQ(samples->prompt_lengths[6], second.prompt_lengths[0]);
  EXPECT_EQ(samples->tokens[samples->begin[6]], second.token_ids[0]);
  EXPECT_EQ(samples->behaviour[6][0].item<float>(), second.behaviour_log_probs[0]);
  EXPECT_EQ(samples->reference[6][0].item<float>(), bundles_.scores[1].ref_log_probs[0]);
  EXPECT_EQ(samples->scores[6].item<float>(), second.scores[0]);
  for (int64_t i = 0; i < samples->count(); ++i) {
    EXPECT_EQ(samples->mask[i].sum().item<int64_t>(), samples->response_lengths[i]) << i;
    const int64_t padding = samples->longest_response() - samples->response_lengths[i];
    EXPECT_EQ(samples->behaviour[i]
                  .narrow(0, samples->response_lengths[i], padding)
                  .abs()
                  .sum()
                  .item<float>(),
              0)
        << i;
  }
}

TEST_F(StepSamplesTest, Assemble_WhatDoesNotFit_DataLossNamesIt) {
  struct Case {
    std::function<void(tiny::TinyBundles&)> spoil;
    std::string want;
  };
  const Case cases[] = {
      {[](auto& b) { b.rollouts[1].bundle.set_index(2); }, "expected training bundle 1 of step 4"},
      {[](auto& b) { b.rollouts[0].bundle.set_step(3); }, "expected training bundle 0 of step 4"},
      {[](auto& b) { b.rollouts[0].version = 3; }, "policy version 3, expected 4"},
      {[](auto& b) { b.rollouts[0].n = 2; }, "expected 3 samples"},
      {[](auto& b) { b.rollouts[1].slots[0] = 3; }, "slot 3 where 2 follows"},
      {[](auto& b) {
         b.rollouts[2].reward_names = {"regex", "length"};
       },
       "other rewards"},
      {[](auto& b) { b.rollouts[0].token_ids[1] = 35; }, "id 35 is no token; ids are below 35"},
      {[](auto& b) { b.rollouts[0].response_lengths[0] = 0; }, "each must be at least 1"},
      {[](auto& b) { b.scores[1].bundle.set_index(0); }, "they are of bundle 0"},
      {[](auto& b) { b.scores[1].ref_log_probs.pop_back(); }, "tokens, the rollout has"},
      {[](auto& b) { b.scores[0].vocab = 1; }, "do not fit the job's kl_penalty"},
      {[](auto& b) { b.scores.pop_back(); }, "3 rollouts but 2 scores"},
      {[](auto& b) { b.rollouts.pop_back(), b.scores.pop_back(); },
       "the bundles hold 4 slots, expected 5"},
  };
  for (const Case& c : cases) {
    const tiny::TinyBundles whole = bundles_;
    c.spoil(bundles_);
    const auto samples = Assemble();
    EXPECT_TRUE(absl::IsDataLoss(samples.status())) << c.want;
    EXPECT_THAT(samples.status().ToString(), HasSubstr(c.want));
    bundles_ = whole;
  }
}

TEST_F(StepSamplesTest, Assemble_IdWithoutToken_DataLossNamesIt) {
  policy_.mask.excluded = {bundles_.rollouts[1].token_ids[0]};
  const auto samples = Assemble();
  EXPECT_TRUE(absl::IsDataLoss(samples.status()));
  EXPECT_THAT(samples.status().ToString(),
              HasSubstr(absl::StrCat("id ", policy_.mask.excluded[0], " is no token")));
}

}  // namespace
}  // namespace retort::worker
