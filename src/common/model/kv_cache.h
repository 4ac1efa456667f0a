// Keys and values of all layers in blocks of kBlockTokens positions, and attention of single
// queries over a sequence's list of blocks. Sums are taken in an order that follows from a query's
// position alone, so an output row depends on its own sequence only: not on which blocks it got,
// on the other rows of the call, or on the threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/model/attention.h"
#include "common/model/block_pool.h"

namespace retort::model {

// Row r is the token at `position` of a sequence whose positions lie in `blocks`
// (BlockSequence::blocks(), which must cover the position).
struct CacheRow {
  int64_t position = 0;
  const int32_t* blocks = nullptr;
};

// Not thread-safe. fp32.
class KvCache {
 public:
  // Memory is touched as blocks are first used. Throws std::bad_alloc.
  KvCache(const AttentionShape& shape, int64_t layers, int64_t blocks);

  // Stores k and v of rows r of qkv [rows, qkv_width], before rotation, at the row's position of
  // `layer`.
  void Store(int64_t layer, const AttentionRule& rule, const RopeView& rope, const float* qkv,
             absl::Span<const CacheRow> rows);

  // Attends from q of rows r of qkv [rows, qkv_width], before rotation, to the keys that the rule
  // lets it see, all of which must have been stored. out [rows, q_width].
  void Attend(int64_t layer, const AttentionRule& rule, const RopeView& rope, const float* qkv,
              absl::Span<const CacheRow> rows, float* out) const;

  // All layers of one block.
  void CopyBlock(const BlockCopy& copy);

  // For plans.
  static int64_t BlockBytes(const AttentionShape& shape, int64_t layers);

 private:
  struct Free {
    void operator()(float* data) const;
  };
  using Memory = std::unique_ptr<float[], Free>;

  static Memory Allocate(int64_t floats);
  int64_t LayerOffset(int64_t layer) const;
  int64_t BlockFloats() const { return shape_.kv_width() * kBlockTokens; }

  AttentionShape shape_;
  int64_t layers_, blocks_;
  Memory keys_;    // [layers, blocks, kv_heads, head_dim, kBlockTokens]
  Memory values_;  // [layers, blocks, kv_heads, kBlockTokens, head_dim]
};

}  // namespace retort::model
