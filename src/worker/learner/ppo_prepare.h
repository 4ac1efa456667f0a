// The first half of a PPO step: everything that version k fixes before the first update. Old
// log-probs and values, KL, rewards, advantages; frozen while the step's updates run, the same bits
// on every rank.
#pragma once

#include "absl/status/statusor.h"
#include "common/checkpoint/manifest.h"
#include "common/objective/gae.h"
#include "common/objective/kl_penalty.h"
#include "common/objective/running_moments.h"
#include "common/tensor/aten.h"
#include "worker/learner/ppo_settings.h"
#include "worker/learner/step_clock.h"
#include "worker/learner/step_samples.h"
#include "worker/learner/training_context.h"

namespace retort::worker {

// [N, T] f32 in flat order, 0 off the mask, unless said otherwise.
struct PreparedStep {
  bool finite = true;  // False: some input is NaN or infinite, and the fields below are undefined.
  std::string not_finite;             // What: "scores", "old log-probs" ...
  at::Tensor old_log_probs;           // Version k at the job's temperature, untruncated.
  at::Tensor scores;                  // [N] after scaling and clipping.
  objective::RunningMoments moments;  // After this step's scores.
  objective::PpoRewards rewards;
  objective::GaeResult gae;
  at::Tensor importance_weights;  // Undefined without importance sampling.
};

// Each rank computes its share of the forward passes; a sum over the ranks gives every rank all of
// them.
absl::StatusOr<PreparedStep> PreparePpoStep(const TrainingContext& context,
                                            const PpoSettings& settings, const StepSamples& samples,
                                            const checkpoint::TrainerState& state,
                                            StepClock* clock);

// [M] int64: where the response tokens of `sequences` lie in a flattened [N, T] tensor.
at::Tensor FlatResponseIndex(const StepSamples& samples, absl::Span<const int64_t> sequences);

}  // namespace retort::worker
