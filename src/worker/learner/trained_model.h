// The policy that is being trained: parameters, gradients and AdamW's moments as arenas of one
// layout, and the model that computes with them. With LoRA the arenas are the adapter's; the base
// has neither gradients nor moments. All lie on the policy's device.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/model/model.h"
#include "common/tensor/aten.h"
#include "common/tensor/parameter_arena.h"
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {

struct TrainedModel {
  tensor::ParameterArena parameters;
  tensor::ParameterArena
      gradients;                   // Over the collective's buffer, so that reducing need not copy.
  tensor::ParameterArena exp_avg;  // AdamW's first moment.
  tensor::ParameterArena exp_avg_sq;  // AdamW's second moment.
  // `parameters` rounded to bf16, if the policy computes in it without an adapter.
  std::optional<tensor::ParameterArena> rounded;
  model::Model model;  // Of `rounded`, else `parameters` (and a base), with `gradients` attached.

  const layout::ParameterLayout& layout() const { return parameters.layout(); }

  // What files hold. On the CPU: the arenas themselves where they lie there, else copies.
  struct State {
    tensor::ParameterArena parameters, exp_avg, exp_avg_sq;
  };
  absl::StatusOr<State> HostState() const;
  // What is published of the parameters, [published_elements] on their device.
  at::Tensor Published() const { return (rounded.has_value() ? *rounded : parameters).Published(); }
  // After the parameters have changed. Throws what LibTorch throws.
  void Round();
  void SetState(const State& state);  // Throws what LibTorch throws.
};

// Everything zero but the base. `layout`: policy.TrainedLayout. `gradient_buffer`: fp32 [>=
// layout.total_elements], contiguous. Errors: RESOURCE_EXHAUSTED when the memory cannot be had.
absl::StatusOr<std::unique_ptr<TrainedModel>> MakeTrainedModel(
    const PolicyModel& policy, const layout::ParameterLayout& layout,
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
