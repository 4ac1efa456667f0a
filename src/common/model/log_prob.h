// Selected log-prob and entropy of rows of logits that are never all kept: forward makes them in
// chunks of rows, backward makes them again.
#pragma once

#include <ATen/ATen.h>

#include "common/model/model.h"

namespace retort::model {

// logits = hidden [M, H] x weight [V, H] transposed, divided by `temperature`; ids >= vocab_limit
// do not exist. targets [M] int64, each in [0, vocab_limit). Differentiable in hidden and weight
// through both outputs.
SelectedLogProbs LogProbsOf(const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& targets, double temperature, int64_t vocab_limit);

}  // namespace retort::model
