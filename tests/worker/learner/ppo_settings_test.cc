#include "worker/learner/ppo_settings.h"

#include <functional>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace retort::worker {
namespace {

// Every number another one: a swapped pair shows.
v1::JobSpec NumberedSpec() {
  v1::JobSpec spec;
  spec.mutable_rollout()->set_temperature(0.7);
  spec.mutable_rollout()->set_top_p(1);
  spec.mutable_data()->set_prompts_per_step(6);
  spec.mutable_data()->set_samples_per_prompt(5);
  v1::PpoSpec& ppo = *spec.mutable_algorithm()->mutable_ppo();
  ppo.set_ppo_epochs(3);
  ppo.set_mini_batch_size(10);
  ppo.set_cliprange(0.11);
  ppo.set_cliprange_value(0.12);
  ppo.set_vf_coef(0.13);
  ppo.set_gamma(0.91);
  ppo.set_lam(0.92);
  ppo.set_adap_kl_ctrl(true);
  ppo.set_init_kl_coef(0.21);
  ppo.set_target(0.22);
  ppo.set_horizon(0.23);
  ppo.set_ratio_threshold(7);
  ppo.set_target_kl(0.31);
  ppo.set_importance_sampling_cap(1.5);
  return spec;
}

TEST(PpoSettingsTest, Numbers_EachInItsPlace) {
  const PpoSettings settings = PpoSettingsOf(NumberedSpec());
  EXPECT_EQ(settings.temperature, 0.7);
  EXPECT_EQ(settings.ppo_epochs, 3);
  EXPECT_EQ(settings.mini_batch_size, 10);
  EXPECT_EQ(settings.loss.cliprange, 0.11);
  EXPECT_EQ(settings.loss.cliprange_value, 0.12);
  EXPECT_EQ(settings.loss.vf_coef, 0.13);
  EXPECT_EQ(settings.loss.ratio_threshold, 7);
  EXPECT_EQ(settings.gae.gamma, 0.91);
  EXPECT_EQ(settings.gae.lam, 0.92);
  EXPECT_EQ(settings.kl.init_kl, 0.21);
  EXPECT_EQ(settings.kl.target, 0.22);
  EXPECT_EQ(settings.kl.horizon, 0.23);
}

TEST(PpoSettingsTest, Switches_EachAlone) {
  const auto with = [](const std::function<void(v1::PpoSpec*)>& change) {
    v1::JobSpec spec = NumberedSpec();
    change(spec.mutable_algorithm()->mutable_ppo());
    return PpoSettingsOf(spec);
  };
  const PpoSettings base = with([](v1::PpoSpec*) {});
  EXPECT_TRUE(base.kl.adaptive);
  EXPECT_FALSE(base.gae.whiten_rewards);
  EXPECT_FALSE(base.scores.use_score_scaling);
  EXPECT_FALSE(base.scores.use_score_norm);
  EXPECT_FALSE(base.scores.score_clip.has_value());
  EXPECT_FALSE(base.early_stop_kl.has_value());
  EXPECT_FALSE(with([](auto* ppo) { ppo->set_adap_kl_ctrl(false); }).kl.adaptive);
  EXPECT_TRUE(with([](auto* ppo) { ppo->set_whiten_rewards(true); }).gae.whiten_rewards);
  const PpoSettings scaled = with([](auto* ppo) { ppo->set_use_score_scaling(true); });
  EXPECT_TRUE(scaled.scores.use_score_scaling);
  EXPECT_FALSE(scaled.scores.use_score_norm);
  EXPECT_TRUE(with([](auto* ppo) { ppo->set_use_score_norm(true); }).scores.use_score_norm);
  EXPECT_EQ(with([](auto* ppo) { ppo->set_score_clip(0.41); }).scores.score_clip, 0.41);
  EXPECT_EQ(with([](auto* ppo) { ppo->set_early_stopping(true); }).early_stop_kl, 0.31);
  EXPECT_EQ(with([](auto* ppo) { ppo->set_mini_batch_size(0); }).mini_batch_size, 30);
}

TEST(PpoSettingsTest, KlPenalty_EachKind) {
  using objective::KlPenalty;
  const std::pair<v1::KlPenalty, KlPenalty> kinds[] = {{v1::KL_PENALTY_KL, KlPenalty::kKl},
                                                       {v1::KL_PENALTY_ABS, KlPenalty::kAbs},
                                                       {v1::KL_PENALTY_MSE, KlPenalty::kMse},
                                                       {v1::KL_PENALTY_FULL, KlPenalty::kFull}};
  for (const auto& [kind, want] : kinds) {
    v1::JobSpec spec = NumberedSpec();
    spec.mutable_algorithm()->mutable_ppo()->set_kl_penalty(kind);
    EXPECT_EQ(PpoSettingsOf(spec).kl_penalty, want) << v1::KlPenalty_Name(kind);
  }
}

TEST(PpoSettingsTest, ImportanceCap_WhereSamplesAreOffPolicyOrTheJobSaysSo) {
  struct Case {
    const char* name;
    std::function<void(v1::JobSpec*)> change;
    v1::ImportanceSampling kind;
    bool weighted;
  };
  const auto same = [](v1::JobSpec*) {};
  const auto lags = [](v1::JobSpec* spec) { spec->mutable_algorithm()->set_lag(1); };
  const auto top_k = [](v1::JobSpec* spec) { spec->mutable_rollout()->set_top_k(5); };
  const auto top_p = [](v1::JobSpec* spec) { spec->mutable_rollout()->set_top_p(0.9); };
  const Case cases[] = {
      {"auto, on-policy", same, v1::IMPORTANCE_SAMPLING_AUTO, false},
      {"auto, lag", lags, v1::IMPORTANCE_SAMPLING_AUTO, true},
      {"auto, top-k", top_k, v1::IMPORTANCE_SAMPLING_AUTO, true},
      {"auto, top-p", top_p, v1::IMPORTANCE_SAMPLING_AUTO, true},
      {"none, lag", lags, v1::IMPORTANCE_SAMPLING_NONE, false},
      {"truncate, on-policy", same, v1::IMPORTANCE_SAMPLING_TOKEN_TRUNCATE, true}};
  for (const Case& c : cases) {
    v1::JobSpec spec = NumberedSpec();
    c.change(&spec);
    spec.mutable_algorithm()->mutable_ppo()->set_importance_sampling(c.kind);
    const PpoSettings settings = PpoSettingsOf(spec);
    ASSERT_EQ(settings.importance_cap.has_value(), c.weighted) << c.name;
    EXPECT_EQ(settings.importance_cap.value_or(1.5), 1.5) << c.name;
  }
}

}  // namespace
}  // namespace retort::worker
