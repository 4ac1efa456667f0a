#include "common/objective/kl_penalty.h"

#include "absl/strings/str_cat.h"

namespace retort::objective {

absl::StatusOr<KlPenalty> ParseKlPenalty(absl::string_view name) {
  if (name == "kl") return KlPenalty::kKl;
  if (name == "abs") return KlPenalty::kAbs;
  if (name == "mse") return KlPenalty::kMse;
  if (name == "full") return KlPenalty::kFull;
  return absl::InvalidArgumentError(
      absl::StrCat("kl_penalty is \"", name, "\"; expected kl, abs, mse or full"));
}

at::Tensor KlPerToken(KlPenalty kind, const at::Tensor& log_probs,
                      const at::Tensor& ref_log_probs) {
  const at::Tensor difference = log_probs - ref_log_probs;
  switch (kind) {
    case KlPenalty::kKl:
      return difference;
    case KlPenalty::kAbs:
      return difference.abs();
    case KlPenalty::kMse:
      return 0.5 * difference.square();
    case KlPenalty::kFull: {
      // -inf minus -inf is NaN: a token that the policy cannot draw adds nothing.
      const at::Tensor probability = log_probs.exp();
      return at::where(probability > 0, probability * difference, at::zeros_like(difference))
          .sum(-1);
    }
  }
  return {};
}

absl::StatusOr<PpoRewards> ComputeRewards(const at::Tensor& scores, const at::Tensor& kl,
                                          const at::Tensor& mask, double kl_coef) {
  const at::Tensor empty_rows = mask.any(1).logical_not().nonzero();
  if (empty_rows.size(0) > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("empty mask: row ", empty_rows[0].item<int64_t>(),
                     " has no response token that could carry its score"));
  }
  PpoRewards result;
  result.non_score_rewards = -kl_coef * kl;
  // The last true position: the first maximum of the mask read backwards.
  const int64_t width = mask.size(1);
  const at::Tensor last = width - 1 - mask.flip({1}).to(at::kInt).argmax(1, /*keepdim=*/true);
  const at::Tensor at_last =
      at::arange(width, mask.options().dtype(at::kLong)).unsqueeze(0) == last;
  result.rewards =
      at::where(at_last, result.non_score_rewards + scores.unsqueeze(1), result.non_score_rewards);
  return result;
}

}  // namespace retort::objective
