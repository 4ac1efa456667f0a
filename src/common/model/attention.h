// Grouped-query attention with rotary embedding over packed segments. fp32; no masks, no padding:
// every query sees exactly its own keys. One thread owns a key-value head of a segment, so bits do
// not depend on the number of threads. Over a KV cache: kv_cache.h.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/rope.h"

namespace retort::model {

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // Divides heads.
  int64_t head_dim = 0;

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t qkv_width() const { return q_width() + 2 * kv_width(); }
};

// How one layer attends. Query i sees keys first_key(i) .. i.
struct AttentionRule {
  float scale = 1;           // Scores are q . k times this,
  float soft_cap = 0;        // then, unless this is 0, c * tanh(score / c).
  int64_t window = 0;        // 0: all keys up to the query's.
  int64_t rotary_dim = 0;    // The first dimensions of a head that are rotated; even, 0: none.
  bool interleaved = false;  // Rotated pairs are (2i, 2i + 1), not (i, i + rotary_dim / 2).

  int64_t first_key(int64_t i) const { return window == 0 || i < window ? 0 : i - window + 1; }
};

// qkv [N, qkv_width] before rotation, rows q, k, v; positions [N]; segment s is rows [offsets[s],
// offsets[s+1]). `rope` has rotary_dim / 2 values a row; it may be null if rotary_dim is 0.
struct AttentionInput {
  AttentionShape shape;
  AttentionRule rule;
  RopeView rope;
  const float* qkv = nullptr;
  const int64_t* positions = nullptr;
  const std::vector<int64_t>* offsets = nullptr;
};

// out [N, q_width]; lse [N, heads], log of the sum of the exponentiated scores, may be null.
void AttentionForward(const AttentionInput& input, float* out, float* lse);

// dqkv [N, qkv_width] from dout, and out and lse of the forward.
void AttentionBackward(const AttentionInput& input, const float* out, const float* lse,
                       const float* dout, float* dqkv);

}  // namespace retort::model
