// The differentiable operations of a layer that ATen lacks or does in many passes. Each saves
// what its backward needs and nothing else. All tensors contiguous and on one device: on the CPU
// fp32, with kernels of our own; elsewhere fp32 or bf16, in ATen's operations (portable_*.h), with
// statistics in fp32. They throw what LibTorch throws.
#pragma once

#include <memory>
#include <vector>

#include "common/layout/model_config.h"
#include "common/model/attention.h"
#include "common/model/rope.h"
#include "common/model/segment_batches.h"
#include "common/tensor/aten.h"

namespace retort::model {

// x * (mean(x^2) + eps)^-1/2 * (weight + offset), per row. x [N, H], weight [H].
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset = 0);

// (x - mean) * (var + eps)^-1/2 * weight + bias, per row. x [N, H], weight and bias [H].
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps);

// silu(gate) * up. gate_up [N, 2F], gate first -> [N, F].
at::Tensor SwiGlu(const at::Tensor& gate_up);

// act(x) or act(gate) * up, as the config says. x [N, F] or [N, 2F] -> [N, F].
at::Tensor Activate(const layout::MlpConfig& mlp, const at::Tensor& x);

// q and k of every row and head through an RMS norm of their own; v as it is. qkv [N, qkv_width],
// weights [head_dim] -> [N, qkv_width].
at::Tensor QkNorm(const at::Tensor& qkv, const AttentionShape& shape, const at::Tensor& q_weight,
                  const at::Tensor& k_weight, double eps, double offset);

// The segments of a pack, as the attention of every layer needs them.
struct AttentionSegments {
  at::Tensor positions;          // [N] int64
  std::vector<int64_t> offsets;  // As in PackedBatch.
  SegmentPlan plan;              // Not on the CPU.
};

using SharedSegments = std::shared_ptr<const AttentionSegments>;

// For heads of `shape`; `positions` lies where attention is to be computed.
SharedSegments SegmentsOf(const AttentionShape& shape, const at::Tensor& positions,
                          const std::vector<int64_t>& offsets);

// Rotates q and k and attends by `rule` inside each segment. qkv [N, qkv_width]; each position is
// below the rows of `angles` -> [N, q_width].
at::Tensor RopeAttention(const at::Tensor& qkv, const AttentionShape& shape,
                         const AttentionRule& rule, const RopeAngles& angles,
                         const SharedSegments& segments);

// c * tanh(x / c); x itself for c = 0.
at::Tensor SoftCap(const at::Tensor& x, double cap);

}  // namespace retort::model
