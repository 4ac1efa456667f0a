// The step record of a PPO step: TRL's names (docs/metrics.md), over the whole step's batch.
#pragma once

#include "absl/status/statusor.h"
#include "retort/v1/record.pb.h"
#include "worker/learner/ppo_prepare.h"
#include "worker/learner/ppo_settings.h"
#include "worker/learner/ppo_update.h"
#include "worker/learner/step_samples.h"
#include "worker/learner/training_context.h"

namespace retort::worker {

struct PpoRecordInputs {
  const TrainingContext* context;
  const PpoSettings* settings;
  const StepSamples* samples;
  const PreparedStep* prepared;
  const PpoUpdates* updates;
  int64_t step;
  double kl_coef;  // The one that the rewards used.
  double learning_rate;
};

struct PpoRecord {
  v1::StepRecord record;
  double kl = 0;  // objective/kl: what the KL controller goes by.
};

// A collective call: the ratios of all ranks meet in one histogram.
absl::StatusOr<PpoRecord> RecordOfPpoStep(const PpoRecordInputs& inputs);

// What is known of a step that changed nothing: rewards and lengths.
v1::StepRecord RecordOfBadStep(const StepSamples& samples, int64_t step);

}  // namespace retort::worker
