// One PPO step of a learner rank: prepare, update, measure, move the controllers on.
#pragma once

#include "absl/status/statusor.h"
#include "common/checkpoint/manifest.h"
#include "worker/learner/ppo_settings.h"
#include "worker/learner/step_clock.h"
#include "worker/learner/step_outcome.h"
#include "worker/learner/step_samples.h"
#include "worker/learner/training_context.h"

namespace retort::worker {

// All ranks call it with equal samples and state. After an error the model's contents are
// unspecified: restore it.
absl::StatusOr<StepOutcome> RunPpoStep(const TrainingContext& context, const PpoSettings& settings,
                                       const StepSamples& samples,
                                       const checkpoint::TrainerState& state, StepClock* clock);

}  // namespace retort::worker
