// What vocab_head.h computes, in ATen's operations: on any device, hidden states and weights both
// fp32 or both bf16; logits and sums are fp32. Rows are taken in chunks, so that no more than a
// bound of logits exists, and the backward computes them again. Repeatable: no atomic additions.
// Not differentiable themselves: vocab_head_grad.cc makes them so.
#pragma once

#include <cstdint>

#include "common/model/vocab_head.h"
#include "common/tensor/aten.h"

namespace retort::model::portable {

// As model::HeadForward. All tensors on one device; `targets` may be undefined.
HeadOutput HeadForward(const at::Tensor& hidden, const HeadWeights& head, const at::Tensor& targets,
                       const HeadOptions& options, const HeadWants& wants);

// What a forward gave and what the loss is in it.
struct HeadState {
  at::Tensor targets;               // [M] int64
  at::Tensor log_sum_exp, entropy;  // [M] f32
  at::Tensor log_prob_gradient;     // [M] f32 of the loss in the log-probs; undefined: 0.
  at::Tensor entropy_gradient;      // [M] f32 of the loss in the entropy; undefined: 0.
};

struct HeadNeeds {
  bool hidden = true;
  bool weight = true;
  bool bias = true;
};

// Of the types of what they belong to; undefined where not needed.
struct HeadGradients {
  at::Tensor hidden, weight, bias;
};
HeadGradients HeadBackward(const at::Tensor& hidden, const HeadWeights& head,
                           const HeadState& state, const HeadOptions& options,
                           const HeadNeeds& needs);

}  // namespace retort::model::portable
