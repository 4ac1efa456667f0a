#include "worker/learner/optimizer_step.h"

#include <cmath>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {
namespace {

objective::LrScheduleKind KindOf(v1::LrSchedule schedule) {
  switch (schedule) {
    case v1::LR_SCHEDULE_CONSTANT:
      return objective::LrScheduleKind::kConstant;
    case v1::LR_SCHEDULE_CONSTANT_WITH_WARMUP:
      return objective::LrScheduleKind::kConstantWithWarmup;
    case v1::LR_SCHEDULE_LINEAR:
      return objective::LrScheduleKind::kLinear;
    case v1::LR_SCHEDULE_COSINE:
      return objective::LrScheduleKind::kCosine;
    case v1::LR_SCHEDULE_COSINE_WITH_MIN_LR:
      return objective::LrScheduleKind::kCosineWithMinLr;
    default:
      break;
  }
  RETORT_CHECK(false) << "lr_schedule " << schedule << " passed the job's validation";
  return objective::LrScheduleKind::kConstant;
}

}  // namespace

OptimizerSettings OptimizerSettingsOf(const v1::JobSpec& spec) {
  const v1::OptimizerSpec& optimizer = spec.optimizer();
  OptimizerSettings settings;
  settings.adamw = {.beta1 = optimizer.beta1(),
                    .beta2 = optimizer.beta2(),
                    .eps = optimizer.eps(),
                    .weight_decay = optimizer.weight_decay()};
  if (optimizer.has_max_grad_norm()) settings.max_grad_norm = optimizer.max_grad_norm();
  settings.value_learning_rate_scale = spec.algorithm().ppo().value_learning_rate_scale();
  return settings;
}

absl::StatusOr<objective::LrScheduleOptions> LrScheduleOf(const v1::JobSpec& spec) {
  objective::LrScheduleOptions options;
  options.kind = KindOf(spec.optimizer().lr_schedule());
  options.lr = spec.optimizer().learning_rate();
  options.num_warmup_steps = spec.optimizer().warmup_steps();
  options.num_training_steps = spec.algorithm().steps();
  options.min_lr = spec.optimizer().min_lr();
  RETORT_RETURN_IF_ERROR(objective::ValidateLrSchedule(options));
  return options;
}

absl::StatusOr<double> ReduceAndClip(const OptimizerSettings& settings, GradientBuckets& buckets,
                                     TrainedModel* model) {
  const at::Tensor& gradients = model->gradients.flat();
  RETORT_RETURN_IF_ERROR(buckets.Reduce());
  return tensor::CatchTorch([&]() -> double {
    if (!settings.max_grad_norm.has_value()) return std::sqrt(objective::SumOfSquares(gradients));
    return objective::ClipGradNorm({gradients}, *settings.max_grad_norm);
  });
}

absl::Status ApplyUpdate(const OptimizerSettings& settings, int64_t update, double learning_rate,
                         TrainedModel* model) {
  const layout::ParameterLayout& layout = model->layout();
  return tensor::CatchTorch([&] {
    const at::NoGradGuard no_grad;
    const auto apply = [&](const layout::ParameterRange& range, double lr, double weight_decay) {
      if (range.size() == 0) return;
      objective::AdamWOptions options = settings.adamw;
      options.weight_decay = weight_decay;
      objective::AdamWUpdate(model->parameters.Range(range), model->gradients.Range(range),
                             model->exp_avg.Range(range), model->exp_avg_sq.Range(range), update,
                             lr, options);
    };
    apply(layout.decay, learning_rate, settings.adamw.weight_decay);
    apply(layout.no_decay, learning_rate, 0);
    apply(layout.value_head, learning_rate * settings.value_learning_rate_scale, 0);
    model->Round();
  });
}

}  // namespace retort::worker
