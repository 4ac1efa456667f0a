#include "common/objective/ppo_statistics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::objective {
namespace {

PpoStepInputs TwoSamples() {
  PpoStepInputs in;
  in.scores = at::tensor({1.0f, 3.0f});
  in.log_probs = at::tensor({-1.f, -2.f, -4.f, 0.f}).view({2, 2});
  in.ref_log_probs = at::tensor({-2.f, -2.f, -1.f, 9.f}).view({2, 2});
  in.mask = at::tensor({1, 1, 1, 0}).to(at::kBool).view({2, 2});
  in.non_score_rewards = at::tensor({-0.1f, 0.f, 0.3f, 7.f}).view({2, 2});
  in.query_lengths = at::tensor({3, 5}, at::kLong);
  in.response_lengths = at::tensor({2, 1}, at::kLong);
  in.kl_coef = 0.1;
  in.learning_rate = 1e-5;
  return in;
}

template <typename Map>
std::vector<std::string> Keys(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

TEST(PpoStatisticsTest, Summary_HandValues) {
  const PpoStepStatistics got = SummarizePpoStep(TwoSamples(), {});
  EXPECT_DOUBLE_EQ(got.scalars.at("objective/kl"), (1.0 + -3.0) / 2);
  EXPECT_DOUBLE_EQ(got.scalars.at("objective/entropy"), (3.0 + 4.0) / 2);
  EXPECT_NEAR(got.scalars.at("ppo/mean_non_score_reward"), 0.2 / 3, 1e-7);
  EXPECT_DOUBLE_EQ(got.scalars.at("ppo/mean_scores"), 2);
  EXPECT_DOUBLE_EQ(got.scalars.at("ppo/std_scores"), std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(got.scalars.at("tokens/queries_len_mean"), 4);
  EXPECT_TRUE(at::equal(got.arrays.at("objective/kl_dist"), at::tensor({1.f, -3.f})));
}

TEST(PpoStatisticsTest, MiniBatches_PlainMeans_VarExplainedFromThem) {
  PpoMiniBatchStatistics a, b;
  a.policy_loss = 1;
  b.policy_loss = 3;
  a.value_error = 1;
  b.value_error = 2;
  a.returns_var = 2;
  b.returns_var = 4;
  a.entropy = 0.5;
  b.entropy = 1.5;
  const PpoStepStatistics got = SummarizePpoStep(TwoSamples(), {a, b});
  EXPECT_DOUBLE_EQ(got.scalars.at("ppo/loss/policy"), 2);
  EXPECT_DOUBLE_EQ(got.scalars.at("ppo/val/var_explained"), 1 - 1.5 / 3);
  EXPECT_DOUBLE_EQ(got.scalars.at("ppo/policy/entropy"), 1);
}

TEST(PpoStatisticsTest, Names_AreTrls) {
  PpoMiniBatchStatistics with_entropy;
  with_entropy.entropy = 1;
  const PpoStepStatistics got = SummarizePpoStep(TwoSamples(), {with_entropy});
  EXPECT_THAT(
      Keys(got.scalars),
      testing::ElementsAre(
          "objective/entropy", "objective/kl", "objective/kl_coef", "ppo/learning_rate",
          "ppo/loss/policy", "ppo/loss/total", "ppo/loss/value", "ppo/mean_non_score_reward",
          "ppo/mean_scores", "ppo/policy/advantages_mean", "ppo/policy/approxkl",
          "ppo/policy/clipfrac", "ppo/policy/entropy", "ppo/policy/policykl", "ppo/returns/mean",
          "ppo/returns/var", "ppo/std_scores", "ppo/val/clipfrac", "ppo/val/error", "ppo/val/mean",
          "ppo/val/var", "ppo/val/var_explained", "ppo/val/vpred", "tokens/queries_len_mean",
          "tokens/queries_len_std", "tokens/responses_len_mean", "tokens/responses_len_std"));
  EXPECT_THAT(
      Keys(got.arrays),
      testing::ElementsAre("objective/kl_dist", "objective/logprobs", "objective/ref_logprobs",
                           "tokens/queries_dist", "tokens/responses_dist"));
}

}  // namespace
}  // namespace retort::objective
