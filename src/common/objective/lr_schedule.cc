#include "common/objective/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace retort::objective {
namespace {

bool NeedsTrainingSteps(LrScheduleKind kind) {
  return kind == LrScheduleKind::kLinear || kind == LrScheduleKind::kCosine ||
         kind == LrScheduleKind::kCosineWithMinLr;
}

// Steps of decay: from the end of the warm-up to the last step, at least one.
double DecaySteps(const LrScheduleOptions& options) {
  return static_cast<double>(
      std::max<int64_t>(1, *options.num_training_steps - options.num_warmup_steps));
}

double CosineFactor(const LrScheduleOptions& options, int64_t step) {
  const double passed = static_cast<double>(step - options.num_warmup_steps);
  const double angle = 2 * std::numbers::pi * options.num_cycles * passed / DecaySteps(options);
  return std::max(0.0, 0.5 * (1 + std::cos(angle)));
}

}  // namespace

absl::StatusOr<LrScheduleKind> ParseLrScheduleKind(absl::string_view name) {
  if (name == "constant") return LrScheduleKind::kConstant;
  if (name == "constant_with_warmup") return LrScheduleKind::kConstantWithWarmup;
  if (name == "linear") return LrScheduleKind::kLinear;
  if (name == "cosine") return LrScheduleKind::kCosine;
  if (name == "cosine_with_min_lr") return LrScheduleKind::kCosineWithMinLr;
  if (name == "linear_to") return LrScheduleKind::kLinearTo;
  return absl::InvalidArgumentError(
      absl::StrCat("schedule \"", name,
                   "\" is unknown; expected constant, constant_with_warmup, "
                   "linear, cosine, cosine_with_min_lr or linear_to"));
}

absl::Status ValidateLrSchedule(const LrScheduleOptions& options) {
  const auto missing = [](absl::string_view name) {
    return absl::InvalidArgumentError(absl::StrCat("the schedule needs ", name));
  };
  const auto bad = [](absl::string_view name, double value, absl::string_view expected) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; expected ", expected));
  };
  if (!(options.lr >= 0)) return bad("lr", options.lr, "a number >= 0");
  if (options.num_warmup_steps < 0) {
    return bad("num_warmup_steps", options.num_warmup_steps, "a number >= 0");
  }
  if (NeedsTrainingSteps(options.kind)) {
    if (!options.num_training_steps.has_value()) return missing("num_training_steps");
    if (*options.num_training_steps < 1) {
      return bad("num_training_steps", *options.num_training_steps, "a number >= 1");
    }
  }
  if (options.kind == LrScheduleKind::kCosineWithMinLr) {
    if (!options.min_lr.has_value()) return missing("min_lr");
    if (!(*options.min_lr >= 0) || *options.min_lr > options.lr) {
      return bad("min_lr", *options.min_lr, "a number from 0 to lr");
    }
  }
  if (options.kind == LrScheduleKind::kLinearTo) {
    if (!options.lr_end.has_value()) return missing("lr_end");
    if (!options.num_decay_steps.has_value()) return missing("num_decay_steps");
    if (!(*options.lr_end >= 0)) return bad("lr_end", *options.lr_end, "a number >= 0");
    if (*options.num_decay_steps < 1) {
      return bad("num_decay_steps", *options.num_decay_steps, "a number >= 1");
    }
  }
  return absl::OkStatus();
}

double LearningRateAt(const LrScheduleOptions& options, int64_t step) {
  if (options.kind == LrScheduleKind::kConstant) return options.lr;
  if (options.kind == LrScheduleKind::kLinearTo) {
    const double share = static_cast<double>(std::min(step, *options.num_decay_steps)) /
                         static_cast<double>(*options.num_decay_steps);
    return options.lr + (*options.lr_end - options.lr) * share;
  }
  if (step < options.num_warmup_steps) {
    return options.lr * static_cast<double>(step) / static_cast<double>(options.num_warmup_steps);
  }
  switch (options.kind) {
    case LrScheduleKind::kLinear:
      return options.lr * std::max(0.0, static_cast<double>(*options.num_training_steps - step) /
                                            DecaySteps(options));
    case LrScheduleKind::kCosine:
      return options.lr * CosineFactor(options, step);
    case LrScheduleKind::kCosineWithMinLr: {
      // lr (c (1 - rho) + rho) with rho = min_lr / lr, written so that lr = 0 is no division by 0.
      const double factor = CosineFactor(options, step);
      return factor * (options.lr - *options.min_lr) + *options.min_lr;
    }
    default:
      return options.lr;
  }
}

}  // namespace retort::objective
