// The logits of every id, for what needs all of them: vocab_head.h does without.
#pragma once

#include "common/model/vocab_head.h"
#include "common/tensor/aten.h"

namespace retort::model {

// hidden W^T + bias, [M, V] fp32, uncapped. hidden [M, E] fp32, or bf16 with a head of bf16, whose
// sums are not rounded to bf16. Differentiable in all. Throws what LibTorch throws.
at::Tensor HeadLogits(const at::Tensor& hidden, const HeadWeights& head);

}  // namespace retort::model
