// What the packed and the cached attention share. Internal; see simd.h for the rules.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/model/attention.h"
#include "common/model/simd.h"

namespace retort::model {

// Floats between rows of a transposed key matrix over `positions`: whole vectors, and never a
// multiple of 4 KiB, which would put all rows into the same cache sets.
inline int64_t KeyStride(int64_t positions) { return simd::PadLanes(positions) + simd::kMaxLanes; }

// y[i * stride] = head vector x [dim] of which the rule's part is rotated by the angles of
// `position`. direction -1 rotates back.
RETORT_INLINE void Rotate(const AttentionRule& rule, const RopeView& rope, int64_t position,
                          const float* x, int64_t dim, float direction, int64_t stride, float* y) {
  const int64_t half = rule.rotary_dim / 2;
  const float* cos = rope.cos + position * half;
  const float* sin = rope.sin + position * half;
  if (rule.interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      const float c = cos[i], s = direction * sin[i];
      y[2 * i * stride] = a * c - b * s;
      y[(2 * i + 1) * stride] = b * c + a * s;
    }
  } else {
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      const float c = cos[i], s = direction * sin[i];
      y[i * stride] = a * c - b * s;
      y[(i + half) * stride] = b * c + a * s;
    }
  }
  for (int64_t i = rule.rotary_dim; i < dim; ++i) y[i * stride] = x[i];
}

// Scores of one rotated query against keys 0 .. length-1 of a transposed key matrix. `scores` holds
// whole vectors; lanes from length on are not meaningful.
template <int kBytes>
RETORT_INLINE void Scores(const float* query, const float* keys, int64_t key_stride, int64_t length,
                          int64_t dim, float* scores) {
  constexpr int kLanes = kBytes / 4;
  simd::Combine<kBytes>(query, 1, dim, keys, key_stride, (length + kLanes - 1) / kLanes * kLanes,
                        /*add=*/false, scores);
}

// tanh(x), within 1e-7.
template <int kBytes>
RETORT_INLINE void Tanh(simd::Float<kBytes>& x) {
  simd::Float<kBytes> e = x * 2.0f;
  simd::Exp<kBytes>(e);
  x = 1.0f - 2.0f / (e + 1.0f);
}

// In place: raw scores s -> c * tanh(scale * s / c). Whole vectors.
template <int kBytes>
RETORT_INLINE void CapScores(float* scores, int64_t length, float scale, float cap) {
  constexpr int kLanes = kBytes / 4;
  for (int64_t i = 0; i < length; i += kLanes) {
    simd::Float<kBytes> x;
    simd::Load<kBytes>(scores + i, x);
    x = x * (scale / cap);
    Tanh<kBytes>(x);
    simd::Store<kBytes>(x * cap, scores + i);
  }
}

// In place: weights e^(scale * (s - max)) with 0 from length to the end of its vector. Returns
// log-sum-exp of the scaled scores; `sum` is the sum of the weights.
template <int kBytes>
RETORT_INLINE float SoftmaxWeights(float* scores, int64_t length, float scale, float* sum) {
  constexpr int kLanes = kBytes / 4;
  const int64_t padded = (length + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = length; i < padded; ++i) scores[i] = -std::numeric_limits<float>::infinity();
  float max = scores[0];
  for (int64_t i = 1; i < length; ++i) max = scores[i] > max ? scores[i] : max;
  simd::Float<kBytes> total{};
  for (int64_t i = 0; i < padded; i += kLanes) {
    simd::Float<kBytes> x;
    simd::Load<kBytes>(scores + i, x);
    x = (x - max) * scale;
    simd::Exp<kBytes>(x);
    total += x;
    simd::Store<kBytes>(x, scores + i);
  }
  *sum = simd::Sum<kBytes>(total);
  return scale * max + std::log(*sum);
}

// One query's output over keys 0 .. length-1: softmax of its scores times values. Returns their
// log-sum-exp. The query's own window begins where `keys` and `values` do. `scratch` holds whole
// vectors over length.
template <int kBytes>
RETORT_INLINE float AttendOne(const AttentionRule& rule, const float* query, const float* keys,
                              int64_t key_stride, const float* values, int64_t value_stride,
                              int64_t length, int64_t dim, float* scratch, float* out) {
  Scores<kBytes>(query, keys, key_stride, length, dim, scratch);
  float scale = rule.scale;
  if (rule.soft_cap > 0) {
    CapScores<kBytes>(scratch, length, rule.scale, rule.soft_cap);
    scale = 1;
  }
  float sum = 0;
  const float lse = SoftmaxWeights<kBytes>(scratch, length, scale, &sum);
  simd::Combine<kBytes>(scratch, 1, length, values, value_stride, dim, /*add=*/false, out);
  const float inverse = 1.0f / sum;
  for (int64_t i = 0; i < dim; ++i) out[i] *= inverse;
  return lse;
}

}  // namespace retort::model
