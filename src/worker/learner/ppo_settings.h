// A job's PPO section as the objective room wants it.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "common/objective/gae.h"
#include "common/objective/kl_controller.h"
#include "common/objective/kl_penalty.h"
#include "common/objective/ppo_loss.h"
#include "common/objective/score_scaling.h"
#include "retort/v1/job.pb.h"

namespace retort::worker {

struct PpoSettings {
  double temperature = 1;  // Of the rollouts, and so of the learner and the reference.
  objective::KlPenalty kl_penalty = objective::KlPenalty::kKl;
  objective::KlControllerOptions kl;
  objective::ScoreScalingOptions scores;
  objective::GaeOptions gae;
  objective::PpoLossOptions loss;
  int64_t ppo_epochs = 1;
  int64_t mini_batch_size = 1;          // Samples per update over all ranks, resolved.
  std::optional<double> early_stop_kl;  // target_kl, with early_stopping.
  std::optional<double>
      importance_cap;  // The policy loss is weighted by min(old / behaviour, cap).
};

PpoSettings PpoSettingsOf(const v1::JobSpec& spec);

}  // namespace retort::worker
