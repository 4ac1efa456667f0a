// The model once more, from ATen's plain operations and in float64: what the hand-written kernels
// are compared with.
#pragma once

#include <cmath>
#include <vector>

#include "common/model/attention.h"
#include "common/model/model.h"
#include "common/model/rope.h"
#include "common/tensor/aten.h"
#include "common/tensor/cat.h"

namespace retort::model {

inline at::Tensor CompositeNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight;
}

// Llama's: all keys so far, the whole head rotated.
inline AttentionRule PlainRule(const AttentionShape& shape) {
  return {.scale = static_cast<float>(1.0 / std::sqrt(double(shape.head_dim))),
          .rotary_dim = shape.head_dim};
}

inline at::Tensor CompositeSwiGlu(const at::Tensor& gate_up) {
  const int64_t width = gate_up.size(1) / 2;
  return at::silu(gate_up.narrow(1, 0, width)) * gate_up.narrow(1, width, width);
}

// x [T, heads, d] rotated at positions 0 .. T-1.
inline at::Tensor CompositeRotate(const at::Tensor& x, const AttentionRule& rule,
                                  const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t dim = rule.rotary_dim, half = dim / 2;
  if (dim == 0) return x;
  const at::Tensor c = cos.narrow(0, 0, x.size(0)).unsqueeze(1);
  const at::Tensor s = sin.narrow(0, 0, x.size(0)).unsqueeze(1);
  const at::Tensor rotated = x.narrow(2, 0, dim), rest = x.narrow(2, dim, x.size(2) - dim);
  if (rule.interleaved) {
    const at::Tensor pairs = rotated.reshape({x.size(0), x.size(1), half, 2});
    const at::Tensor a = pairs.select(3, 0), b = pairs.select(3, 1);
    const at::Tensor y = at::stack({a * c - b * s, b * c + a * s}, 3);
    return tensor::Cat({y.reshape({x.size(0), x.size(1), dim}), rest}, 2);
  }
  const at::Tensor a = rotated.narrow(2, 0, half), b = rotated.narrow(2, half, half);
  return tensor::Cat({a * c - b * s, b * c + a * s, rest}, 2);
}

// One segment. qkv [T, qkv_width] -> [T, q_width].
inline at::Tensor CompositeSegment(const at::Tensor& qkv, const AttentionShape& s,
                                   const AttentionRule& rule, const at::Tensor& cos,
                                   const at::Tensor& sin) {
  const int64_t t = qkv.size(0);
  const int64_t group = s.heads / s.kv_heads;
  at::Tensor q = qkv.narrow(1, 0, s.q_width()).view({t, s.heads, s.head_dim});
  at::Tensor k = qkv.narrow(1, s.q_width(), s.kv_width()).view({t, s.kv_heads, s.head_dim});
  at::Tensor v =
      qkv.narrow(1, s.q_width() + s.kv_width(), s.kv_width()).view({t, s.kv_heads, s.head_dim});
  q = CompositeRotate(q, rule, cos, sin).transpose(0, 1);
  k = at::repeat_interleave(CompositeRotate(k, rule, cos, sin), group, 1).transpose(0, 1);
  v = at::repeat_interleave(v, group, 1).transpose(0, 1);
  at::Tensor scores = at::matmul(q, k.transpose(1, 2)) * double(rule.scale);
  if (rule.soft_cap > 0) scores = at::tanh(scores / rule.soft_cap) * rule.soft_cap;
  at::Tensor hidden = at::ones({t, t}, at::kBool).triu(1);
  if (rule.window > 0) hidden = hidden | at::ones({t, t}, at::kBool).tril(-rule.window);
  scores = scores.masked_fill(hidden, -INFINITY);
  return at::matmul(at::softmax(scores, -1), v).transpose(0, 1).reshape({t, s.q_width()});
}

inline at::Tensor CompositeAttention(const at::Tensor& qkv, const AttentionShape& s,
                                     const AttentionRule& rule, const at::Tensor& cos,
                                     const at::Tensor& sin, const std::vector<int64_t>& offsets) {
  std::vector<at::Tensor> out;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t length = offsets[i + 1] - offsets[i];
    if (length > 0)
      out.push_back(CompositeSegment(qkv.narrow(0, offsets[i], length), s, rule, cos, sin));
  }
  return tensor::Cat(out, 0);
}

// Largest |a - b| over 1 + |b|.
inline double Error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return ((x - y).abs() / (1.0 + y.abs())).max().item<double>();
}

}  // namespace retort::model
