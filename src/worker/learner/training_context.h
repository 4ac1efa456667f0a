// What every step of a learner rank needs and nobody changes while it runs.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "retort/v1/job.pb.h"
#include "worker/learner/optimizer_step.h"
#include "worker/learner/trained_model.h"
#include "worker/weight_sync/policy_source.h"

namespace retort::worker {

struct TrainingContext {
  const v1::JobSpec* spec = nullptr;
  const PolicyText* policy = nullptr;
  collective::Collective* group = nullptr;
  TrainedModel* model = nullptr;
  GradientBuckets* buckets = nullptr;  // Of `model` and `group`.
  OptimizerSettings optimizer;
  objective::LrScheduleOptions lr_schedule;
  // Called after every micro-batch: counts progress; an error (the rank was asked to stop) ends the
  // step.
  std::function<absl::Status()> on_micro_batch = [] { return absl::OkStatus(); };
};

}  // namespace retort::worker
