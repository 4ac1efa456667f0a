#include "worker/learner/trained_model.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {

absl::StatusOr<std::unique_ptr<TrainedModel>> MakeTrainedModel(
    const PolicyModel& policy, const layout::ParameterLayout& layout,
    const at::Tensor& gradient_buffer) {
  const auto zeros = [&] {
    return tensor::ParameterArena::Allocate(layout, at::kFloat, policy.device());
  };
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena parameters, zeros());
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena exp_avg, zeros());
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena exp_avg_sq, zeros());
  std::optional<tensor::ParameterArena> rounded;
  if (policy.published_type() != at::kFloat) {
    RETORT_ASSIGN_OR_RETURN(rounded, tensor::ParameterArena::Allocate(
                                         layout, policy.published_type(), policy.device()));
  }
  return tensor::CatchTorch([&] {
    const tensor::ParameterArena gradients = tensor::ParameterArena::Wrap(layout, gradient_buffer);
    model::Model model = policy.Bind(rounded.has_value() ? *rounded : parameters);
    if (rounded.has_value()) {
      model.AttachMasters(parameters, gradients);
    } else {
      model.AttachGradients(gradients);
    }
    return std::make_unique<TrainedModel>(TrainedModel{std::move(parameters), gradients,
                                                       std::move(exp_avg), std::move(exp_avg_sq),
                                                       std::move(rounded), std::move(model)});
  });
}

absl::StatusOr<TrainedModel::State> TrainedModel::HostState() const {
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena weights, parameters.On(at::kCPU, at::kFloat));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena first, exp_avg.On(at::kCPU, at::kFloat));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena second, exp_avg_sq.On(at::kCPU, at::kFloat));
  return State{std::move(weights), std::move(first), std::move(second)};
}

void TrainedModel::SetState(const State& state) {
  const at::NoGradGuard no_grad;
  parameters.CopyFrom(state.parameters);
  exp_avg.CopyFrom(state.exp_avg);
  exp_avg_sq.CopyFrom(state.exp_avg_sq);
  Round();
}

void TrainedModel::Round() {
  if (!rounded.has_value()) return;
  const at::NoGradGuard no_grad;
  rounded->CopyFrom(parameters);
}

ModelSnapshot::ModelSnapshot(const TrainedModel& model)
    : parameters_(model.parameters.flat().clone()),
      exp_avg_(model.exp_avg.flat().clone()),
      exp_avg_sq_(model.exp_avg_sq.flat().clone()) {}

void ModelSnapshot::Restore(TrainedModel* model) const {
  const at::NoGradGuard no_grad;
  model->parameters.flat().copy_(parameters_);
  model->exp_avg.flat().copy_(exp_avg_);
  model->exp_avg_sq.flat().copy_(exp_avg_sq_);
  model->Round();
}

}  // namespace retort::worker
