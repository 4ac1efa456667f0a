// From accumulated gradients to new parameters: reduce over the ranks, clip, AdamW on each group of
// the arena.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "common/objective/lr_schedule.h"
#include "common/objective/optimizer.h"
#include "retort/v1/job.pb.h"
#include "worker/learner/gradient_buckets.h"
#include "worker/learner/trained_model.h"

namespace retort::worker {

struct OptimizerSettings {
  objective::AdamWOptions adamw;  // weight_decay is of the decay group; the others have none.
  std::optional<double> max_grad_norm;
  double value_learning_rate_scale = 1;
};
OptimizerSettings OptimizerSettingsOf(const v1::JobSpec& spec);

// The job's schedule. INVALID_ARGUMENT names the field.
absl::StatusOr<objective::LrScheduleOptions> LrScheduleOf(const v1::JobSpec& spec);

// Sums the gradients over the ranks (GradientBuckets::Reduce) and clips them. Returns their norm
// before clipping; when it is not finite, on every rank alike, the gradients are as they were and
// no update may follow.
absl::StatusOr<double> ReduceAndClip(const OptimizerSettings& settings, GradientBuckets& buckets,
                                     TrainedModel* model);

// AdamW update number `update` (from 1) with `model`'s gradients.
absl::Status ApplyUpdate(const OptimizerSettings& settings, int64_t update, double learning_rate,
                         TrainedModel* model);

}  // namespace retort::worker
