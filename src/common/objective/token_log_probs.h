// Log-probabilities and entropy from logits [..., V]. The trainer's fused path (model/) computes
// the same numbers from hidden states; these are the plain definitions. Source:
// intel-extension-for-transformers logprobs_from_logits, entropy_from_logits.
#pragma once

#include "common/tensor/aten.h"

namespace retort::objective {

// log softmax(logits)[labels]: [..., V], int64 [...] -> [...]. Differentiable.
at::Tensor SelectedLogProbs(const at::Tensor& logits, const at::Tensor& labels);

// log softmax over the last dimension. Differentiable.
at::Tensor FullLogProbs(const at::Tensor& logits);

// -sum p log p: [..., V] -> [...]. A token of probability 0 adds 0. Differentiable.
at::Tensor Entropy(const at::Tensor& logits);

}  // namespace retort::objective
