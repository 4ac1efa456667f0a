// How every objective hands its loss to the trainer: weighted sums with global denominators
//. Counts follow from lengths and masks, so they are all-reduced *before* the first
// micro-batch; each micro-batch divides by the global count, and micro-batches and ranks only add.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "common/tensor/aten.h"

namespace retort::objective {

// One additive part of a loss: weight * sum / denominator.
struct LossTerm {
  double weight = 1;
  at::Tensor sum;          // 0-d, carries the graph: this micro-batch's part of the sum.
  double denominator = 1;  // Global count of tokens, sequences ... of the whole mini-batch; > 0.
};

// 0-d: the sum of all terms, ready for backward. `terms` is not empty.
at::Tensor TotalLoss(absl::Span<const LossTerm> terms);

}  // namespace retort::objective
