// The model once more, from ATen's plain operations and in float64: what the hand-written kernels
// are compared with.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "common/model/attention.h"
#include "common/model/model.h"
#include "common/model/rope.h"

namespace retort::model {

inline at::Tensor CompositeNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight;
}

inline at::Tensor CompositeSwiGlu(const at::Tensor& gate_up) {
  const int64_t width = gate_up.size(1) / 2;
  return at::silu(gate_up.narrow(1, 0, width)) * gate_up.narrow(1, width, width);
}

// x [T, heads, d] rotated at positions 0 .. T-1.
inline at::Tensor CompositeRotate(const at::Tensor& x, const at::Tensor& cos,
                                  const at::Tensor& sin) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor c = cos.narrow(0, 0, x.size(0)).unsqueeze(1);
  const at::Tensor s = sin.narrow(0, 0, x.size(0)).unsqueeze(1);
  const at::Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
  return at::cat({a * c - b * s, b * c + a * s}, 2);
}

// One segment. qkv [T, qkv_width] -> [T, q_width].
inline at::Tensor CompositeSegment(const at::Tensor& qkv, const AttentionShape& s,
                                   const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t t = qkv.size(0);
  const int64_t group = s.heads / s.kv_heads;
  at::Tensor q = qkv.narrow(1, 0, s.q_width()).view({t, s.heads, s.head_dim});
  at::Tensor k = qkv.narrow(1, s.q_width(), s.kv_width()).view({t, s.kv_heads, s.head_dim});
  at::Tensor v =
      qkv.narrow(1, s.q_width() + s.kv_width(), s.kv_width()).view({t, s.kv_heads, s.head_dim});
  q = CompositeRotate(q, cos, sin).transpose(0, 1);
  k = at::repeat_interleave(CompositeRotate(k, cos, sin), group, 1).transpose(0, 1);
  v = at::repeat_interleave(v, group, 1).transpose(0, 1);
  at::Tensor scores = at::matmul(q, k.transpose(1, 2)) / std::sqrt(double(s.head_dim));
  const at::Tensor future = at::ones({t, t}, at::kBool).triu(1);
  scores = scores.masked_fill(future, -INFINITY);
  return at::matmul(at::softmax(scores, -1), v).transpose(0, 1).reshape({t, s.q_width()});
}

inline at::Tensor CompositeAttention(const at::Tensor& qkv, const AttentionShape& s,
                                     const at::Tensor& cos, const at::Tensor& sin,
                                     const std::vector<int64_t>& offsets) {
  std::vector<at::Tensor> out;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t length = offsets[i + 1] - offsets[i];
    if (length > 0) out.push_back(CompositeSegment(qkv.narrow(0, offsets[i], length), s, cos, sin));
  }
  return at::cat(out, 0);
}

// Largest |a - b| over 1 + |b|.
inline double Error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return ((x - y).abs() / (1.0 + y.abs())).max().item<double>();
}

}  // namespace retort::model
