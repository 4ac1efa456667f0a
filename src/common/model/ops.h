// The differentiable operations of a Llama layer that ATen lacks or does in many passes. Each saves
// what its backward needs and nothing else. All tensors fp32, contiguous; they throw what LibTorch
// throws.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "common/model/attention.h"
#include "common/model/rope.h"

namespace retort::model {

// x * (mean(x^2) + eps)^-1/2 * weight, per row. x [N, H], weight [H].
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// silu(gate) * up. gate_up [N, 2F], gate first -> [N, F].
at::Tensor SwiGlu(const at::Tensor& gate_up);

// Rotates q and k and attends, causally inside each segment. qkv [N, qkv_width], positions [N]
// int64 (each below the rows of `angles`) -> [N, q_width].
at::Tensor RopeAttention(const at::Tensor& qkv, const AttentionShape& shape,
                         const RopeAngles& angles, const at::Tensor& positions,
                         const std::vector<int64_t>& offsets);

}  // namespace retort::model
