#include "worker/learner/trained_model.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {

absl::StatusOr<std::unique_ptr<TrainedModel>> MakeTrainedModel(
    const PolicyModel& policy, const layout::ParameterLayout& layout,
    const at::Tensor& gradient_buffer) {
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena parameters,
                          tensor::ParameterArena::Allocate(layout));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena exp_avg, tensor::ParameterArena::Allocate(layout));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena exp_avg_sq,
                          tensor::ParameterArena::Allocate(layout));
  return tensor::CatchTorch([&] {
    const tensor::ParameterArena gradients = tensor::ParameterArena::Wrap(layout, gradient_buffer);
    model::Model model = policy.Bind(parameters);
    model.AttachGradients(gradients);
    return std::make_unique<TrainedModel>(TrainedModel{std::move(parameters), gradients,
                                                       std::move(exp_avg), std::move(exp_avg_sq),
                                                       std::move(model)});
  });
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
}

}  // namespace retort::worker
