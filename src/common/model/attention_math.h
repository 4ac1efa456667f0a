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

// In place: `padded` scores, whole vectors, -> weights e^(scale * (s - max)). Returns their sum.
template <int kBytes>
RETORT_INLINE float WeighScores(float* scores, int64_t padded, float scale, float* max) {
  constexpr int kLanes = kBytes / 4;
  simd::Float<kBytes> most;
  simd::Load<kBytes>(scores, most);
  for (int64_t i = kLanes; i < padded; i += kLanes) {
    simd::Float<kBytes> x;
    simd::Load<kBytes>(scores + i, x);
    most = x > most ? x : most;
  }
  float largest = most[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  simd::Float<kBytes> total{};
  for (int64_t i = 0; i < padded; i += kLanes) {
    simd::Float<kBytes> x;
    simd::Load<kBytes>(scores + i, x);
    x = (x - largest) * scale;
    simd::Exp<kBytes>(x);
    total += x;
    simd::Store<kBytes>(x, scores + i);
  }
  *max = largest;
  return simd::Sum<kBytes>(total);
}

// The same of `length` scores, with weights of 0 from there to the end of the vector. Returns
// log-sum-exp of the scaled scores; `sum` is the sum of the weights.
template <int kBytes>
RETORT_INLINE float SoftmaxWeights(float* scores, int64_t length, float scale, float* sum) {
  constexpr int kLanes = kBytes / 4;
  const int64_t padded = (length + kLanes - 1) / kLanes * kLanes;
  std::fill(scores + length, scores + padded, -std::numeric_limits<float>::infinity());
  float max = 0;
  *sum = WeighScores<kBytes>(scores, padded, scale, &max);
  return scale * max + std::log(*sum);
}

// Queries first .. first + kRows of one head: the softmax of their scores times the values. queries
// [kRows, dim], rotated; keys [dim, key_stride] transposed, and values, both from the segment's
// first; scratch [kRows, scratch_stride], a value per key of the longest window and whole vectors.
// out has a row per query, and lse (may be null) a value: log of the sum of the exponentiated
// scores. Bits of a query do not depend on kRows.
template <int kBytes, int kRows>
RETORT_INLINE void AttendRows(const AttentionRule& rule, int64_t first, const float* queries,
                              const float* keys, int64_t key_stride, const float* values,
                              int64_t value_stride, int64_t dim, float* scratch,
                              int64_t scratch_stride, float* out, int64_t out_stride, float* lse,
                              int64_t lse_stride) {
  constexpr int kLanes = kBytes / 4;
  const int64_t begin = rule.first_key(first), end = first + kRows;
  const int64_t span = (end - begin + kLanes - 1) / kLanes * kLanes;
  simd::CombineRows<kBytes, kRows>(queries, dim, 1, dim, keys + begin, key_stride, span,
                                   /*add=*/false, scratch, scratch_stride);
  float sums[kRows];
  for (int r = 0; r < kRows; ++r) {
    const int64_t own = rule.first_key(first + r);
    float* const scores = scratch + r * scratch_stride + (own - begin);
    const int64_t length = first + r + 1 - own;
    if (rule.soft_cap > 0) CapScores<kBytes>(scores, length, rule.scale, rule.soft_cap);
    const float row_lse =
        SoftmaxWeights<kBytes>(scores, length, rule.soft_cap > 0 ? 1.0f : rule.scale, &sums[r]);
    if (lse != nullptr) lse[r * lse_stride] = row_lse;
  }
  // Keys of all queries at once; those of some only, before and after, one query at a time.
  const int64_t shared = std::min(rule.first_key(end - 1), first + 1);
  for (int r = 0; r < kRows; ++r) {
    const int64_t own = rule.first_key(first + r);
    simd::CombineRows<kBytes, 1>(scratch + r * scratch_stride + (own - begin), 0, 1,
                                 std::max<int64_t>(0, shared - own), values + own * value_stride,
                                 value_stride, dim, /*add=*/false, out + r * out_stride, 0);
  }
  simd::CombineRows<kBytes, kRows>(scratch + (shared - begin), scratch_stride, 1,
                                   first + 1 - shared, values + shared * value_stride, value_stride,
                                   dim, /*add=*/true, out, out_stride);
  for (int r = 0; r < kRows; ++r) {
    const int64_t from = std::max(first + 1, rule.first_key(first + r));
    simd::CombineRows<kBytes, 1>(scratch + r * scratch_stride + (from - begin), 0, 1,
                                 first + r + 1 - from, values + from * value_stride, value_stride,
                                 dim, /*add=*/true, out + r * out_stride, 0);
    const float inverse = 1.0f / sums[r];
    for (int64_t i = 0; i < dim; ++i) out[r * out_stride + i] *= inverse;
  }
}

}  // namespace retort::model
