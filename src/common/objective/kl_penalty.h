// Per-token KL between the policy and the frozen reference, and the rewards made of it.
// Source: intel-extension-for-transformers compute_rewards, _kl_penalty.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tensor/aten.h"

namespace retort::objective {

// With l the policy's and r the reference's log-probability of the sampled token:
enum class KlPenalty {
  kKl,    // l - r. Unbiased, may be negative.
  kAbs,   // |l - r|
  kMse,   // (l - r)^2 / 2
  kFull,  // sum over the vocabulary of e^l (l - r): exact, needs both full distributions.
};

// "kl", "abs", "mse" or "full". INVALID_ARGUMENT names kl_penalty and the four otherwise.
absl::StatusOr<KlPenalty> ParseKlPenalty(absl::string_view name);

// Any shape [...] in, the same out. kFull: log-softmax over the whole vocabulary [..., V] in, [...]
// out; where the policy's probability is 0 a token adds 0.
at::Tensor KlPerToken(KlPenalty kind, const at::Tensor& log_probs, const at::Tensor& ref_log_probs);

struct PpoRewards {
  at::Tensor rewards;  // [B,T]: non_score_rewards, plus the score at the row's last true position.
  at::Tensor non_score_rewards;  // [B,T]: -kl_coef * kl, also off the mask.
};

// scores [B], kl [B,T] (KlPerToken's), mask bool [B,T].
// Errors: INVALID_ARGUMENT "empty mask" naming the row if a row has no true position.
absl::StatusOr<PpoRewards> ComputeRewards(const at::Tensor& scores, const at::Tensor& kl,
                                          const at::Tensor& mask, double kl_coef);

}  // namespace retort::objective
