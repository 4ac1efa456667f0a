// The policy that is being trained: parameters, gradients and AdamW's moments as arenas of one
// layout, and the model that computes with them.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/layout/model_config.h"
#include "common/model/model.h"
#include "common/tensor/parameter_arena.h"

namespace retort::worker {

struct TrainedModel {
  tensor::ParameterArena parameters;
  tensor::ParameterArena
      gradients;                   // Over the collective's buffer, so that reducing need not copy.
  tensor::ParameterArena exp_avg;  // AdamW's first moment.
  tensor::ParameterArena exp_avg_sq;  // AdamW's second moment.
  model::Model model;                 // Over `parameters`, with `gradients` attached.

  const layout::ParameterLayout& layout() const { return parameters.layout(); }
};

// Everything zero. `gradient_buffer`: fp32 [>= layout.total_elements], contiguous.
// Errors: RESOURCE_EXHAUSTED when the memory cannot be had.
absl::StatusOr<std::unique_ptr<TrainedModel>> MakeTrainedModel(
    const layout::ModelConfig& config, const layout::ParameterLayout& layout,
    const at::Tensor& gradient_buffer);

// A copy of parameters and moments: what a bad step goes back to.
class ModelSnapshot {
 public:
  explicit ModelSnapshot(const TrainedModel& model);
  void Restore(TrainedModel* model) const;

 private:
  at::Tensor parameters_, exp_avg_, exp_avg_sq_;
};

}  // namespace retort::worker
