// A policy version in memory of the worker, on the policy's device. Internal to weight_sync/.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/model/model.h"
#include "common/tensor/parameter_arena.h"
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {

// Not thread-safe.
class InstalledCopy {
 public:
  // All zero. RESOURCE_EXHAUSTED no memory for it.
  static absl::StatusOr<InstalledCopy> Make(const PolicyModel& policy);

  // Takes over the published range, rounded to the policy's type. `weights` may be fill_in_place().
  absl::Status Fill(absl::Span<const float> weights);
  // Where the copy itself lies, if that is fp32 on the CPU; else empty.
  absl::Span<float> fill_in_place();

  const model::Model& model() const { return model_; }

 private:
  InstalledCopy(tensor::ParameterArena arena, model::Model model)
      : arena_(std::move(arena)), model_(std::move(model)) {}

  tensor::ParameterArena arena_;
  model::Model model_;
};

}  // namespace retort::worker
