#include "worker/learner/ppo_settings.h"

namespace retort::worker {
namespace {

objective::KlPenalty KindOf(v1::KlPenalty kind) {
  switch (kind) {
    case v1::KL_PENALTY_ABS:
      return objective::KlPenalty::kAbs;
    case v1::KL_PENALTY_MSE:
      return objective::KlPenalty::kMse;
    case v1::KL_PENALTY_FULL:
      return objective::KlPenalty::kFull;
    default:
      return objective::KlPenalty::kKl;
  }
}

// Rollouts are drawn from another distribution than the learner's old policy.
bool IsOffPolicy(const v1::JobSpec& spec) {
  return spec.algorithm().lag() > 0 || spec.rollout().top_k() > 0 || spec.rollout().top_p() < 1;
}

bool UsesImportanceSampling(const v1::JobSpec& spec) {
  switch (spec.algorithm().ppo().importance_sampling()) {
    case v1::IMPORTANCE_SAMPLING_TOKEN_TRUNCATE:
      return true;
    case v1::IMPORTANCE_SAMPLING_NONE:
      return false;
    default:
      return IsOffPolicy(spec);
  }
}

}  // namespace

PpoSettings PpoSettingsOf(const v1::JobSpec& spec) {
  const v1::PpoSpec& ppo = spec.algorithm().ppo();
  PpoSettings settings;
  settings.temperature = spec.rollout().temperature();
  settings.kl_penalty = KindOf(ppo.kl_penalty());
  settings.kl = {.adaptive = ppo.adap_kl_ctrl(),
                 .init_kl = ppo.init_kl_coef(),
                 .target = ppo.target(),
                 .horizon = ppo.horizon()};
  settings.scores.use_score_scaling = ppo.use_score_scaling();
  settings.scores.use_score_norm = ppo.use_score_norm();
  if (ppo.has_score_clip()) settings.scores.score_clip = ppo.score_clip();
  settings.gae = {.gamma = ppo.gamma(), .lam = ppo.lam(), .whiten_rewards = ppo.whiten_rewards()};
  settings.loss = {.cliprange = ppo.cliprange(),
                   .cliprange_value = ppo.cliprange_value(),
                   .vf_coef = ppo.vf_coef(),
                   .ratio_threshold = ppo.ratio_threshold()};
  settings.ppo_epochs = ppo.ppo_epochs();
  const int64_t samples = spec.data().prompts_per_step() * spec.data().samples_per_prompt();
  settings.mini_batch_size = ppo.mini_batch_size() == 0 ? samples : ppo.mini_batch_size();
  if (ppo.early_stopping()) settings.early_stop_kl = ppo.target_kl();
  if (UsesImportanceSampling(spec)) settings.importance_cap = ppo.importance_sampling_cap();
  return settings;
}

}  // namespace retort::worker
