// Token loss of supervised fine-tuning: the negative log-likelihood of the response's tokens, its
// EOS included, over the *global* number of such tokens.
#pragma once

#include <cstdint>

#include "common/objective/loss_term.h"
#include "common/tensor/aten.h"

namespace retort::objective {

// Rows of the float64 sum vector that micro-batches and ranks add.
enum class SftSum : int64_t { kTokens, kNegativeLogLikelihood, kEntropy, kCorrect, kCount };

at::Tensor NewSftSums();  // float64 [SftSum::kCount], zeros.

struct SftLossPart {
  LossTerm term;
  at::Tensor sums;  // No graph, where the inputs are.
};

// log_probs float [..] of the target tokens (carry the graph); mask bool of the same shape,
// undefined: all count. entropy float, correct bool (the target is the arg max): optional
// statistics, undefined: counted as 0. `global_tokens`: tokens that count in the whole step over
// all ranks; >= 1.
SftLossPart SftTokenLoss(const at::Tensor& log_probs, const at::Tensor& mask,
                         const at::Tensor& entropy, const at::Tensor& correct,
                         int64_t global_tokens);

struct SftStatistics {
  int64_t tokens = 0;
  double loss = 0;  // Mean NLL per token; NaN without a token, like the others.
  double entropy = 0;
  double mean_token_accuracy = 0;
};
SftStatistics FinishSftStatistics(const at::Tensor& sums);

}  // namespace retort::objective
