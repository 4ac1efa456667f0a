// What attention.h computes, in ATen's operations: on any device, of fp32 or bf16. Scores, softmax
// and the sums of derivatives are fp32. Segments of like lengths are taken together, the queries of
// long ones in chunks, so that no matrix of scores is larger than a bound; the backward computes
// them again. Repeatable: no atomic additions.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/attention.h"
#include "common/model/rope.h"
#include "common/model/segment_batches.h"
#include "common/tensor/aten.h"

namespace retort::model::portable {

// All tensors on one device. See attention.h; `angles` may be undefined when rotary_dim is 0.
struct AttentionTensors {
  AttentionShape shape;
  AttentionRule rule;
  RopeAngles angles;     // [positions, rotary_dim / 2] fp32
  at::Tensor qkv;        // [N, qkv_width] fp32 or bf16, contiguous
  at::Tensor positions;  // [N] int64
  const SegmentPlan* plan = nullptr;
};

// For heads of `shape`, whatever the layer; segment s is rows [offsets[s], offsets[s+1]).
SegmentPlan PlanSegments(const AttentionShape& shape, const std::vector<int64_t>& offsets,
                         const at::Device& device);

struct AttentionOutput {
  at::Tensor out;  // [N, q_width], of qkv's type.
  at::Tensor lse;  // [N, heads] fp32
};

AttentionOutput AttentionForward(const AttentionTensors& in);

// dqkv [N, qkv_width], of qkv's type, from dout [N, q_width] and what the forward gave.
at::Tensor AttentionBackward(const AttentionTensors& in, const AttentionOutput& forward,
                             const at::Tensor& dout);

// q k^T of batches q [B, M, head_dim] and k [B, K, head_dim], scaled and capped as the rule says:
// [B, M, K] fp32.
at::Tensor CappedScores(const AttentionRule& rule, const at::Tensor& q, const at::Tensor& k);

// x [N, heads, head_dim], of which the rule's part is rotated by the angles of the rows, cos and
// sin [N, rotary_dim / 2]. direction -1 rotates back. In fp32; of x's type again.
at::Tensor Rotate(const AttentionRule& rule, const at::Tensor& x, const at::Tensor& cos,
                  const at::Tensor& sin, double direction);

}  // namespace retort::model::portable
