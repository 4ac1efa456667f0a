#include "worker/learner/ppo_step.h"

#include <cmath>
#include <limits>
#include <set>

#include "gmock/gmock.h"
#include "worker/learner/rank_fixture.h"
#include "worker/learner/trainer_checkpoint.h"

namespace retort::worker {
namespace {

using ::testing::IsSupersetOf;

constexpr uint64_t kWeights = 3;

// What a step left on one rank.
struct After {
  StepOutcome outcome;
  at::Tensor parameters, exp_avg;
  Digest digest;
};

class PpoStepTest : public testing::Test {
 protected:
  PpoStepTest() { spec_.mutable_algorithm()->mutable_ppo()->set_ppo_epochs(2); }

  // One step from kWeights on every rank.
  std::vector<After> Run(const StepSamples& samples, int world_size,
                         checkpoint::TrainerState state = {}) {
    state.kl_coef = spec_.algorithm().ppo().init_kl_coef();
    std::vector<After> after(world_size);
    OnRanks(world_size, spec_, policy_, kWeights, [&](Rank& rank) {
      StepClock clock;
      auto outcome = RunPpoStep(rank.context, PpoSettingsOf(spec_), samples, state, &clock);
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      After& mine = after[rank.group->rank()];
      mine.outcome = *std::move(outcome);
      mine.parameters = rank.model->parameters.flat().clone();
      mine.exp_avg = rank.model->exp_avg.flat().clone();
      mine.digest = StateDigest(*rank.model, mine.outcome.state);
    });
    return after;
  }
  After RunAlone(const StepSamples& samples) { return Run(samples, 1).front(); }

  double Scalar(const After& after, const std::string& name) {
    const auto found = after.outcome.record.scalars().find(name);
    EXPECT_NE(found, after.outcome.record.scalars().end()) << name;
    return found == after.outcome.record.scalars().end() ? std::nan("") : found->second;
  }
  at::Tensor Start() { return tiny::RandomArena(policy_.config, true, kWeights).flat(); }

  const PolicyText policy_ = tiny::TinyPolicy();
  v1::JobSpec spec_ = tiny::TinyPpoSpec(/*prompts=*/8, /*samples_per_prompt=*/2);
};

TEST_F(PpoStepTest, Run_Twice_SameBits) {
  const StepSamples samples = RandomSamples(spec_, policy_, 0);
  EXPECT_EQ(RunAlone(samples).digest, RunAlone(samples).digest);
}

TEST_F(PpoStepTest, Run_ThreeRanks_AgreeAndTrain) {
  spec_.mutable_algorithm()->mutable_ppo()->set_mini_batch_size(4);
  const std::vector<After> ranks = Run(RandomSamples(spec_, policy_, 0), 3);
  EXPECT_EQ(ranks[0].digest, ranks[1].digest);
  EXPECT_EQ(ranks[0].digest, ranks[2].digest);
  EXPECT_EQ(ranks[0].outcome.state.step, 1);
  EXPECT_EQ(ranks[0].outcome.state.optimizer_steps, 8);  // 2 epochs of 16 / 4 mini-batches.
  EXPECT_FALSE(at::equal(ranks[0].parameters, Start()));
}

TEST_F(PpoStepTest, Run_MoreRanksThanSamples_RanksWithoutSamplesTakePart) {
  spec_.mutable_data()->set_prompts_per_step(1);
  const std::vector<After> ranks = Run(RandomSamples(spec_, policy_, 0), 4);
  EXPECT_EQ(ranks[0].digest, ranks[3].digest);
  EXPECT_FALSE(ranks[0].outcome.bad);
}

TEST_F(PpoStepTest, Run_WorldSizes_SameStatistics) {
  const StepSamples samples = RandomSamples(spec_, policy_, 0);
  const After one = RunAlone(samples);
  const After four = Run(samples, 4).front();
  for (const auto& [name, value] : one.outcome.record.scalars()) {
    if (name.rfind("time/", 0) == 0) continue;
    EXPECT_NEAR(Scalar(four, name), value, 2e-4 * std::max(1.0, std::abs(value))) << name;
  }
  EXPECT_EQ(four.outcome.record.histograms().size(), one.outcome.record.histograms().size());
}

TEST_F(PpoStepTest, Run_Record_HoldsEveryStatisticOfPpo) {
  const After after = RunAlone(RandomSamples(spec_, policy_, 0));
  std::set<std::string> names;
  for (const auto& [name, value] : after.outcome.record.scalars()) {
    names.insert(name);
    EXPECT_TRUE(std::isfinite(value)) << name;
  }
  EXPECT_THAT(names, IsSupersetOf({"objective/kl",
                                   "objective/kl_coef",
                                   "objective/entropy",
                                   "ppo/mean_non_score_reward",
                                   "ppo/mean_scores",
                                   "ppo/std_scores",
                                   "ppo/learning_rate",
                                   "tokens/queries_len_mean",
                                   "tokens/queries_len_std",
                                   "tokens/responses_len_mean",
                                   "tokens/responses_len_std",
                                   "ppo/loss/policy",
                                   "ppo/loss/value",
                                   "ppo/loss/total",
                                   "ppo/policy/entropy",
                                   "ppo/policy/approxkl",
                                   "ppo/policy/policykl",
                                   "ppo/policy/clipfrac",
                                   "ppo/policy/advantages_mean",
                                   "ppo/returns/mean",
                                   "ppo/returns/var",
                                   "ppo/val/vpred",
                                   "ppo/val/error",
                                   "ppo/val/clipfrac",
                                   "ppo/val/mean",
                                   "ppo/val/var",
                                   "ppo/val/var_explained",
                                   "loss",
                                   "grad_norm",
                                   "learning_rate",
                                   "env/reward_mean",
                                   "env/reward_std",
                                   "rewards/exact_match/mean",
                                   "rewards/length/mean",
                                   "completions/mean_length",
                                   "sampling/sampling_logp_difference/mean",
                                   "sampling/sampling_logp_difference/max"}));
  std::set<std::string> histograms;
  for (const auto& [name, histogram] : after.outcome.record.histograms()) histograms.insert(name);
  EXPECT_THAT(histograms,
              IsSupersetOf({"objective/kl_dist", "objective/logprobs", "objective/ref_logprobs",
                            "tokens/queries_dist", "tokens/responses_dist", "ppo/policy/advantages",
                            "ppo/policy/ratio", "env/reward_dist"}));
}

TEST_F(PpoStepTest, Run_RewardThatGaveUp_IsInTheRecord) {
  StepSamples samples = RandomSamples(spec_, policy_, 0);
  EXPECT_FALSE(RunAlone(samples).outcome.record.scalars().contains("rewards/length/gave_up"));
  samples.reward_gave_up = {0, 3};
  const After after = RunAlone(samples);
  EXPECT_EQ(Scalar(after, "rewards/length/gave_up"), 3);
  EXPECT_FALSE(after.outcome.record.scalars().contains("rewards/exact_match/gave_up"));
}

TEST_F(PpoStepTest, Run_RatioHistogram_CountsEveryTokenOfEveryEpoch) {
  const StepSamples samples = RandomSamples(spec_, policy_, 0);
  const After after = Run(samples, 2).front();
  int64_t counted = 0;
  for (const int64_t count : after.outcome.record.histograms().at("ppo/policy/ratio").counts())
    counted += count;
  EXPECT_EQ(counted, 2 * samples.response_tokens());
}

TEST_F(PpoStepTest, Run_NanScore_BadStepOnEveryRankAndNothingApplied) {
  StepSamples samples = RandomSamples(spec_, policy_, 0);
  samples.scores[3] = std::numeric_limits<float>::quiet_NaN();
  for (const After& after : Run(samples, 2)) {
    EXPECT_TRUE(after.outcome.bad);
    EXPECT_EQ(after.outcome.why, "scores are not finite");
    EXPECT_TRUE(at::equal(after.parameters, Start()));
    EXPECT_EQ(after.outcome.state.step, 1);
    EXPECT_EQ(after.outcome.state.bad_steps, 1);
    EXPECT_EQ(after.outcome.state.optimizer_steps, 0);
  }
}

TEST_F(PpoStepTest, Run_SecondUpdateNotFinite_FirstIsTakenBack) {
  spec_.mutable_optimizer()->set_learning_rate(
      1e30);  // The first update makes weights that overflow.
  spec_.mutable_algorithm()->mutable_ppo()->set_ratio_threshold(1e9);
  for (const After& after : Run(RandomSamples(spec_, policy_, 0), 2)) {
    EXPECT_TRUE(after.outcome.bad);
    EXPECT_TRUE(at::equal(after.parameters, Start()));
    EXPECT_EQ(after.exp_avg.abs().sum().item<float>(), 0);
    EXPECT_EQ(after.outcome.state.optimizer_steps, 0);
  }
}

TEST_F(PpoStepTest, Run_RatioAboveThreshold_UpdateSkippedForReal) {
  spec_.mutable_algorithm()->mutable_ppo()->set_ratio_threshold(
      0.5);  // The ratio of a first update is 1.
  const After after = RunAlone(RandomSamples(spec_, policy_, 0));
  EXPECT_FALSE(after.outcome.bad);
  EXPECT_TRUE(at::equal(after.parameters, Start()));
  EXPECT_EQ(after.exp_avg.abs().sum().item<float>(), 0);  // The moments do not decay either.
  EXPECT_EQ(after.outcome.state.optimizer_steps, 0);
  EXPECT_EQ(Scalar(after, "ppo/updates_skipped"), 2);
}

TEST_F(PpoStepTest, Run_PolicyKlAboveTarget_LaterEpochsAreNotRun) {
  v1::PpoSpec& ppo = *spec_.mutable_algorithm()->mutable_ppo();
  ppo.set_ppo_epochs(5);
  ppo.set_early_stopping(true);
  ppo.set_target_kl(1e-9);
  spec_.mutable_optimizer()->set_learning_rate(0.05);
  const After after = RunAlone(RandomSamples(spec_, policy_, 0));
  EXPECT_EQ(Scalar(after, "ppo/stopped_early"), 1);
  EXPECT_LT(after.outcome.state.optimizer_steps, 5);
}

TEST_F(PpoStepTest, Run_AdaptiveController_MovesTowardsTarget) {
  spec_.mutable_algorithm()->mutable_ppo()->set_target(
      1e-6);  // Far below: the coefficient grows by its limit.
  const After after = RunAlone(RandomSamples(spec_, policy_, 0));
  const double kl = Scalar(after, "objective/kl");
  const double factor = kl > 0 ? 1 + 0.2 * 16 / 10000 : 1 - 0.2 * 16 / 10000;
  EXPECT_NEAR(after.outcome.state.kl_coef, 0.2 * factor, 1e-12);
  EXPECT_EQ(Scalar(after, "objective/kl_coef"), 0.2);  // The rewards used the one before.
}

TEST_F(PpoStepTest, Run_ScoreScaling_MovesTheMoments) {
  spec_.mutable_algorithm()->mutable_ppo()->set_use_score_scaling(true);
  const StepSamples samples = RandomSamples(spec_, policy_, 0);
  const After after = RunAlone(samples);
  EXPECT_NEAR(after.outcome.state.score_moments.mean, samples.scores.mean().item<double>(), 1e-6);
  EXPECT_NEAR(after.outcome.state.score_moments.count, 16, 1e-9);
}

TEST_F(PpoStepTest, Run_FullKl_UsesWholeDistributions) {
  spec_.mutable_algorithm()->mutable_ppo()->set_kl_penalty(v1::KL_PENALTY_FULL);
  tiny::TinyBundles bundles = tiny::RandomBundles(spec_, 0, 2, policy_.mask.limit);
  // A reference that is uniform over the tokenizer's ids: the full KL is log(35) - entropy of the
  // policy.
  const int64_t vocab = policy_.config.vocab_size;
  for (artifact::Scores& scores : bundles.scores) {
    const size_t tokens = scores.ref_log_probs.size();
    scores.vocab = vocab;
    scores.ref_log_probs.clear();
    for (size_t t = 0; t < tokens; ++t) {
      for (int64_t v = 0; v < vocab; ++v) {
        scores.ref_log_probs.push_back(
            v < policy_.mask.limit ? -std::log(35.0f) : -std::numeric_limits<float>::infinity());
      }
    }
  }
  const auto samples =
      AssembleSamples(ShapeOf(spec_, policy_, 0), bundles.rollouts, bundles.scores);
  ASSERT_TRUE(samples.ok()) << samples.status();
  const After after = RunAlone(*samples);
  EXPECT_FALSE(after.outcome.bad) << after.outcome.why;
  // mean_non_score_reward = -0.2 * mean KL; policy/entropy of the first of two epochs is at version
  // 0, the second's hardly moved.
  EXPECT_NEAR(Scalar(after, "ppo/mean_non_score_reward"),
              -0.2 * (std::log(35.0) - Scalar(after, "ppo/policy/entropy")), 5e-3);
}

}  // namespace
}  // namespace retort::worker
