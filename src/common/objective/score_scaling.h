// What happens to scores before they become rewards: scaling by running moments, then clipping.
// Source: intel-extension-for-transformers PPOTrainer.step.
#pragma once

#include <optional>

#include "common/objective/running_moments.h"
#include "common/tensor/aten.h"

namespace retort::objective {

struct ScoreScalingOptions {
  bool use_score_scaling = false;    // Divide by the running standard deviation.
  bool use_score_norm = false;       // With use_score_scaling: also subtract the running mean.
  std::optional<double> score_clip;  // Clamp to +- this afterwards; > 0.
};

// scores [n] of the global batch -> scores [n]. With use_score_scaling the moments take the batch
// in first.
at::Tensor ScaleScores(const at::Tensor& scores, const ScoreScalingOptions& options,
                       RunningMoments* moments);

}  // namespace retort::objective
