#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/objective/lr_schedule.h"
#include "common/objective/optimizer.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

using tensor::TensorMap;

absl::StatusOr<TensorMap> Schedule(TensorCall& call) {
  objective::LrScheduleOptions options;
  const std::string name = call.Text("name", "linear");
  options.lr = call.Number("lr");
  options.num_warmup_steps = call.Integer("num_warmup_steps", 0);
  options.num_training_steps = call.OptionalInteger("num_training_steps");
  options.num_cycles = call.Number("num_cycles", 0.5);
  options.min_lr = call.OptionalNumber("min_lr");
  options.lr_end = call.OptionalNumber("lr_end");
  options.num_decay_steps = call.OptionalInteger("num_decay_steps");
  const at::Tensor steps = call.Ids("steps");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(options.kind, objective::ParseLrScheduleKind(name));
  RETORT_RETURN_IF_ERROR(objective::ValidateLrSchedule(options));
  at::Tensor lr = at::zeros(steps.sizes(), at::TensorOptions(at::kDouble));
  for (int64_t i = 0; i < steps.size(0); ++i) {
    lr[i] = objective::LearningRateAt(options, steps[i].item<int64_t>());
  }
  return TensorMap{{"lr", lr}};
}

// One learning rate per step: a list must be as long as the gradients.
absl::StatusOr<std::vector<double>> RatePerStep(std::vector<double> lr, int64_t steps) {
  if (lr.size() == 1) lr.resize(steps, lr[0]);
  if (static_cast<int64_t>(lr.size()) == steps) return lr;
  return absl::InvalidArgumentError(
      absl::StrCat("lr has ", lr.size(), " entries for ", steps, " steps"));
}

absl::StatusOr<TensorMap> AdamW(TensorCall& call) {
  objective::AdamWOptions options;
  std::vector<double> lr = call.NumberOrList("lr");
  const std::vector<double> betas = call.NumberOrList("betas", std::vector<double>{0.9, 0.999});
  options.eps = call.Number("eps", 1e-8);
  options.weight_decay = call.Number("weight_decay", 0.01);
  const at::Tensor gradients = call.Float("gradients");
  at::Tensor parameter = call.Float("param").clone();
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (betas.size() != 2) return absl::InvalidArgumentError("param betas is no pair");
  options.beta1 = betas[0];
  options.beta2 = betas[1];
  RETORT_ASSIGN_OR_RETURN(lr, RatePerStep(lr, gradients.size(0)));
  at::Tensor exp_avg = at::zeros_like(parameter), exp_avg_sq = at::zeros_like(parameter);
  std::vector<at::Tensor> history;
  for (int64_t step = 1; step <= gradients.size(0); ++step) {
    objective::AdamWUpdate(parameter, gradients[step - 1], exp_avg, exp_avg_sq, step, lr[step - 1],
                           options);
    history.push_back(parameter.clone());
  }
  return TensorMap{
      {"params", at::stack(history)}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}};
}

absl::StatusOr<TensorMap> Rmsprop(TensorCall& call) {
  objective::RmspropOptions options;
  std::vector<double> lr = call.NumberOrList("lr");
  options.alpha = call.Number("alpha", 0.99);
  options.eps = call.Number("eps", 1e-8);
  options.weight_decay = call.Number("weight_decay", 0);
  options.momentum = call.Number("momentum", 0);
  const at::Tensor gradients = call.Float("gradients");
  at::Tensor parameter = call.Float("param").clone();
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(lr, RatePerStep(lr, gradients.size(0)));
  at::Tensor square_avg = at::zeros_like(parameter);
  const at::Tensor momentum = options.momentum > 0 ? at::zeros_like(parameter) : at::Tensor();
  std::vector<at::Tensor> history;
  for (int64_t step = 0; step < gradients.size(0); ++step) {
    objective::RmspropUpdate(parameter, gradients[step], square_avg, momentum, lr[step], options);
    history.push_back(parameter.clone());
  }
  return TensorMap{{"params", at::stack(history)}, {"square_avg", square_avg}};
}

absl::StatusOr<TensorMap> Clip(TensorCall& call) {
  const double max_norm = call.Number("max_norm");
  std::vector<at::Tensor> gradients = call.FloatSeries("gradient");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (gradients.empty()) return absl::InvalidArgumentError("input gradient.0 is missing");
  for (at::Tensor& gradient : gradients) gradient = gradient.clone();
  const double norm = objective::ClipGradNorm(gradients, max_norm);
  TensorMap outputs{{"total_norm", at::full({}, norm, gradients[0].options())}};
  for (size_t i = 0; i < gradients.size(); ++i) {
    outputs[absl::StrCat("clipped.", i)] = gradients[i];
  }
  return outputs;
}

}  // namespace

void RegisterOptimizerOps(OpRegistry* registry) {
  (*registry)["lr.schedule"] = {Schedule, {}, {}};
  (*registry)["optimizer.adamw"] = {AdamW, {}, {}};
  (*registry)["optimizer.rmsprop"] = {Rmsprop, {}, {}};
  (*registry)["optimizer.clip"] = {Clip, {}, {}};
}

}  // namespace retort::conformance
