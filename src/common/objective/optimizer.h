// Optimizer updates over flat ranges of the parameter arena, in place. A group (decay, no decay,
// value head) is one range, so a whole update is one call per group. float32 or float64,
// contiguous, all of one length and on one device. Source: torch 2.11 AdamW, RMSprop,
// clip_grad_norm_
//.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor/aten.h"

namespace retort::objective {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // Decoupled: p <- p (1 - lr wd) before the update.
};

// Update number `step` = 1, 2, ... of this range. The moments start as zeros. `gradient` is left as
// it is.
void AdamWUpdate(at::Tensor parameter, const at::Tensor& gradient, at::Tensor exp_avg,
                 at::Tensor exp_avg_sq, int64_t step, double lr, const AdamWOptions& options);

struct RmspropOptions {
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;  // Added to the gradient.
  double momentum = 0;
};

// `momentum_buffer` may be undefined if momentum is 0; the state starts as zeros.
void RmspropUpdate(at::Tensor parameter, const at::Tensor& gradient, at::Tensor square_avg,
                   at::Tensor momentum_buffer, double lr, const RmspropOptions& options);

// sum of squares in float64, on the CPU over fixed blocks in order: the same bits for any number of
// threads.
// NaN and infinite entries come out as a result that is not finite.
double SumOfSquares(const at::Tensor& gradient);

// min(1, max_norm / (norm + 1e-6)): what the gradient is multiplied by.
double ClipFactor(double norm, double max_norm);

// Scales all `gradients` in place by ClipFactor of their common norm; returns that norm (before
// clipping). A norm that is not finite leaves them untouched: the caller treats the step as bad.
double ClipGradNorm(absl::Span<const at::Tensor> gradients, double max_norm);

}  // namespace retort::objective
