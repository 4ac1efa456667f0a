#include "common/objective/token_log_probs.h"

namespace retort::objective {

at::Tensor FullLogProbs(const at::Tensor& logits) { return at::log_softmax(logits, -1); }

at::Tensor SelectedLogProbs(const at::Tensor& logits, const at::Tensor& labels) {
  return FullLogProbs(logits).gather(-1, labels.unsqueeze(-1)).squeeze(-1);
}

at::Tensor Entropy(const at::Tensor& logits) {
  // Where a probability is 0 its log may be -inf: both factors are cut, so that neither the product
  // nor its derivative is NaN.
  const at::Tensor log_probs = FullLogProbs(logits);
  const at::Tensor finite = at::where(log_probs.isfinite(), log_probs, at::zeros_like(log_probs));
  return -(log_probs.exp() * finite).sum(-1);
}

}  // namespace retort::objective
