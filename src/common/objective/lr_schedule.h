// Learning rate of update (step) k, as Hugging Face's get_scheduler and torch's LinearLR define it.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::objective {

enum class LrScheduleKind {
  kConstant,
  kConstantWithWarmup,
  kLinear,  // Down to 0 at num_training_steps.
  kCosine,
  kCosineWithMinLr,
  kLinearTo,  // From lr to lr_end over num_decay_steps, then lr_end. No warm-up.
};

struct LrScheduleOptions {
  LrScheduleKind kind = LrScheduleKind::kLinear;
  double lr = 1e-5;                           // Peak.
  int64_t num_warmup_steps = 0;               // k / num_warmup_steps of the peak before.
  std::optional<int64_t> num_training_steps;  // Required by linear, cosine, cosine_with_min_lr.
  double num_cycles = 0.5;                    // Cosine: half a wave ends at 0.
  std::optional<double> min_lr;               // Required by cosine_with_min_lr.
  std::optional<double> lr_end;               // Required by linear_to.
  std::optional<int64_t> num_decay_steps;     // Required by linear_to.
};

// "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "linear_to".
absl::StatusOr<LrScheduleKind> ParseLrScheduleKind(absl::string_view name);

// INVALID_ARGUMENT naming the option that is missing or out of range.
absl::Status ValidateLrSchedule(const LrScheduleOptions& options);

// `step` >= 0; `options` passed ValidateLrSchedule. Beyond num_training_steps linear stays 0
// and cosine goes on with its wave.
double LearningRateAt(const LrScheduleOptions& options, int64_t step);

}  // namespace retort::objective
