// The second half of a PPO step: epochs of mini-batches, each one optimizer update from gradients
// that are summed over micro-batches and ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/objective/ppo_loss.h"
#include "worker/learner/ppo_prepare.h"
#include "worker/learner/ppo_settings.h"
#include "worker/learner/step_clock.h"
#include "worker/learner/step_samples.h"
#include "worker/learner/training_context.h"

namespace retort::worker {

// Samples of each mini-batch of an epoch: one permutation of the step's samples, keyed (seed, step,
// epoch), cut into pieces of `mini_batch_size` (the last may be smaller).
std::vector<std::vector<int64_t>> MiniBatchesOfEpoch(uint64_t seed, int64_t step, int64_t epoch,
                                                     int64_t samples, int64_t mini_batch_size);

// Accumulates this rank's part of a mini-batch's gradient into the model's (zeroed) gradients and
// returns its part of the sums (objective::PpoSum). Appends the ratio of every token to `ratios`.
absl::StatusOr<at::Tensor> AccumulatePpoGradient(const TrainingContext& context,
                                                 const PpoSettings& settings,
                                                 const StepSamples& samples,
                                                 const PreparedStep& prepared,
                                                 const std::vector<int64_t>& mini_batch,
                                                 std::vector<at::Tensor>* ratios);

struct PpoUpdates {
  bool finite = true;  // False: a loss or gradient was not; the model is as it was before the step.
  std::string not_finite;
  int64_t applied = 0;  // Optimizer updates.
  int64_t skipped = 0;  // Mini-batches whose mean ratio was above ratio_threshold.
  bool stopped_early = false;
  std::vector<objective::PpoMiniBatchStatistics> mini_batches;
  double grad_norm_sum = 0;        // Over the applied updates, before clipping.
  std::vector<at::Tensor> ratios;  // Of this rank's tokens, one entry a micro-batch.
};

// `first_update`: number of the first optimizer update, from 1.
absl::StatusOr<PpoUpdates> RunPpoUpdates(const TrainingContext& context,
                                         const PpoSettings& settings, const StepSamples& samples,
                                         const PreparedStep& prepared, int64_t step,
                                         int64_t first_update, double learning_rate,
                                         StepClock* clock);

}  // namespace retort::worker
