#include "common/objective/score_scaling.h"

namespace retort::objective {

at::Tensor ScaleScores(const at::Tensor& scores, const ScoreScalingOptions& options,
                       RunningMoments* moments) {
  constexpr double kEpsilon = 0x1p-23;  // float32's; also for float64 scores.
  at::Tensor scaled = scores.to(at::kDouble);
  if (options.use_score_scaling) {
    UpdateMoments(scores, moments);
    if (options.use_score_norm) scaled = scaled - moments->mean;
    scaled = scaled / (moments->std + kEpsilon);
  }
  if (options.score_clip.has_value()) {
    scaled = scaled.clamp(-*options.score_clip, *options.score_clip);
  }
  return scaled.to(scores.scalar_type());
}

}  // namespace retort::objective
