// Causal grouped-query attention with rotary embedding, over packed segments and over a KV cache.
// fp32; no masks, no padding: every query sees exactly its own keys. One thread owns a key-value
// head of a segment, so bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/rope.h"

namespace retort::model {

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // Divides heads.
  int64_t head_dim = 0;  // Even.

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t qkv_width() const { return q_width() + 2 * kv_width(); }
};

// qkv [N, qkv_width] before rotation, rows q, k, v; positions [N]; segment s is rows [offsets[s],
// offsets[s+1]).
struct AttentionInput {
  AttentionShape shape;
  RopeView rope;
  const float* qkv = nullptr;
  const int64_t* positions = nullptr;
  const std::vector<int64_t>* offsets = nullptr;
};

// out [N, q_width]; lse [N, heads], log of the sum of the exponentiated scaled scores, may be null.
void AttentionForward(const AttentionInput& input, float* out, float* lse);

// dqkv [N, qkv_width] from dout, and out and lse of the forward.
void AttentionBackward(const AttentionInput& input, const float* out, const float* lse,
                       const float* dout, float* dqkv);

// Keys (rotated, transposed) and values of one layer for a number of slots. A slot holds one
// sequence.
class KvCache {
 public:
  // `capacity`: most positions of a slot.
  KvCache(const AttentionShape& shape, int64_t slots, int64_t capacity);

  // For rows r of qkv [rows, qkv_width]: stores k and v at positions[r] of slots[r], then attends
  // from r to positions 0 .. positions[r] of that slot (which may include positions stored by this
  // call). out [rows, q_width].
  void Attend(const RopeView& rope, const float* qkv, const int64_t* slots,
              const int64_t* positions, int64_t rows, float* out);

  // Positions [0, length) of slot `from` into slot `to`.
  void CopyPrefix(int64_t from, int64_t to, int64_t length);

  // Floats of one slot, for plans.
  static int64_t SlotElements(const AttentionShape& shape, int64_t capacity);

 private:
  AttentionShape shape_;
  int64_t capacity_;
  int64_t key_stride_;         // Floats between two dimensions of a transposed key matrix.
  std::vector<float> keys_;    // [slots, kv_heads, head_dim, key_stride]
  std::vector<float> values_;  // [slots, kv_heads, capacity, head_dim]
};

}  // namespace retort::model
