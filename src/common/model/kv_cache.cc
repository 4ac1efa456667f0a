#include "common/model/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "common/base/check.h"
#include "common/model/attention_math.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

// Multiply-adds worth a thread.
constexpr int64_t kGrain = 1 << 15;

// The blocks of a sequence that one query reads: scratch element i belongs to position
// first_block * kBlockTokens + i.
struct Visible {
  int64_t first_block, blocks;  // Blocks [first_block, first_block + blocks).
  int64_t skip;                 // Positions of the first block before the window.
  int64_t count;                // Scratch elements up to the query's own.
};
RETORT_INLINE Visible VisibleTo(const AttentionRule& rule, int64_t position) {
  const int64_t first = rule.first_key(position);
  const int64_t block = first / kBlockTokens;
  const int64_t begin = block * kBlockTokens;
  return {block, position / kBlockTokens - block + 1, first - begin, position + 1 - begin};
}

// What one layer's calls share.
struct LayerView {
  AttentionShape shape;
  const AttentionRule* rule;
  RopeView rope;
  const float* keys;
  const float* values;

  RETORT_INLINE int64_t Cell(int32_t block, int64_t kv_head) const {
    return (block * shape.kv_heads + kv_head) * shape.head_dim * kBlockTokens;
  }
};

struct QueryKernel {
  const LayerView& layer;
  const float* qkv;
  const CacheRow* rows;
  int64_t begin, end;  // Items row * kv_heads + kv_head.
  float* scratch;      // Whole blocks over the longest sequence.
  float* query;        // [head_dim]
  float* out;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    const AttentionShape& s = layer.shape;
    const int64_t group = s.heads / s.kv_heads;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / s.kv_heads, kv_head = item % s.kv_heads;
      const Visible visible = VisibleTo(*layer.rule, rows[row].position);
      for (int64_t g = 0; g < group; ++g) {
        const int64_t column = (kv_head * group + g) * s.head_dim;
        Rotate(*layer.rule, layer.rope, rows[row].position, qkv + row * s.qkv_width() + column,
               s.head_dim, 1.0f, 1, query);
        AllScores<kBytes>(rows[row].blocks + visible.first_block, visible, kv_head);
        Combine<kBytes>(rows[row].blocks + visible.first_block, visible, kv_head,
                        out + row * s.q_width() + column);
      }
    }
  }

  RETORT_INLINE void PrefetchCell(const float* cell) const {
    for (int64_t i = 0; i < layer.shape.head_dim; ++i) __builtin_prefetch(cell + i * kBlockTokens);
  }

  template <int kBytes>
  RETORT_INLINE void AllScores(const int32_t* blocks, const Visible& visible,
                               int64_t kv_head) const {
    for (int64_t b = 0; b < visible.blocks; ++b) {
      // Blocks lie anywhere: the next keys, and the values that Combine will read.
      if (b + 1 < visible.blocks) PrefetchCell(layer.keys + layer.Cell(blocks[b + 1], kv_head));
      PrefetchCell(layer.values + layer.Cell(blocks[b], kv_head));
      BlockScores<kBytes>(layer.keys + layer.Cell(blocks[b], kv_head), scratch + b * kBlockTokens);
    }
  }

  // scores[t] = sum over d of query[d] * keys[d][t]: four partial sums over d mod 4, then (0 + 1) +
  // (2 + 3).
  template <int kBytes>
  RETORT_INLINE void BlockScores(const float* keys, float* scores) const {
    constexpr int kLanes = kBytes / 4;
    constexpr int kVectors = kBlockTokens / kLanes;
    const int64_t dim = layer.shape.head_dim;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      simd::Float<kBytes> sums[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sums[i] = simd::Float<kBytes>{};
      const float* column = keys + v * kLanes;
      int64_t d = 0;
      for (; d + 4 <= dim; d += 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          simd::Float<kBytes> k;
          simd::Load<kBytes>(column + (d + i) * kBlockTokens, k);
          sums[i] += query[d + i] * k;
        }
      }
      for (; d < dim; ++d) {
        simd::Float<kBytes> k;
        simd::Load<kBytes>(column + d * kBlockTokens, k);
        sums[0] += query[d] * k;
      }
      simd::Store<kBytes>((sums[0] + sums[1]) + (sums[2] + sums[3]), scores + v * kLanes);
    }
  }

  // Scores -> weights e^(score - max), 0 outside the window; returns their sum.
  template <int kBytes>
  RETORT_INLINE float Weigh(const Visible& visible) const {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const int64_t padded = visible.blocks * kBlockTokens;
    float scale = layer.rule->scale;
    if (layer.rule->soft_cap > 0) {
      CapScores<kBytes>(scratch, padded, scale, layer.rule->soft_cap);
      scale = 1.0f;
    }
    std::fill(scratch, scratch + visible.skip, kNone);
    std::fill(scratch + visible.count, scratch + padded, kNone);
    float max = 0;
    return WeighScores<kBytes>(scratch, padded, scale, &max);
  }

  template <int kBytes>
  RETORT_INLINE void Combine(const int32_t* blocks, const Visible& visible, int64_t kv_head,
                             float* to) const {
    const int64_t dim = layer.shape.head_dim;
    const float inverse = 1.0f / Weigh<kBytes>(visible);
    for (int64_t b = 0; b < visible.blocks; ++b) {
      const int64_t first = b == 0 ? visible.skip : 0;
      const int64_t last = std::min(kBlockTokens, visible.count - b * kBlockTokens);
      simd::Combine<kBytes>(scratch + b * kBlockTokens + first, 1, last - first,
                            layer.values + layer.Cell(blocks[b], kv_head) + first * dim, dim, dim,
                            /*add=*/b > 0, to);
    }
    for (int64_t i = 0; i < dim; ++i) to[i] *= inverse;
  }
};

}  // namespace

void KvCache::Free::operator()(float* data) const { std::free(data); }

KvCache::Memory KvCache::Allocate(int64_t floats) {
  // Zero pages of the system, which cost nothing until they are written.
  void* const data = std::calloc(static_cast<size_t>(std::max<int64_t>(1, floats)), sizeof(float));
  if (data == nullptr) throw std::bad_alloc();
  return Memory(static_cast<float*>(data));
}

KvCache::KvCache(const AttentionShape& shape, int64_t layers, int64_t blocks)
    : shape_(shape),
      layers_(layers),
      blocks_(blocks),
      keys_(Allocate(layers * blocks * BlockFloats())),
      values_(Allocate(layers * blocks * BlockFloats())) {}

int64_t KvCache::BlockBytes(const AttentionShape& shape, int64_t layers) {
  return 2 * layers * shape.kv_width() * kBlockTokens * static_cast<int64_t>(sizeof(float));
}

int64_t KvCache::LayerOffset(int64_t layer) const {
  RETORT_CHECK(layer >= 0 && layer < layers_) << "layer " << layer << " of " << layers_;
  return layer * blocks_ * BlockFloats();
}

void KvCache::Store(int64_t layer, const AttentionRule& rule, const RopeView& rope,
                    const float* qkv, absl::Span<const CacheRow> rows) {
  float* const keys = keys_.get() + LayerOffset(layer);
  float* const values = values_.get() + LayerOffset(layer);
  const LayerView view{shape_, &rule, rope, keys, values};
  const int64_t dim = shape_.head_dim;
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t position = rows[r].position;
    const float* k = qkv + static_cast<int64_t>(r) * shape_.qkv_width() + shape_.q_width();
    const float* v = k + shape_.kv_width();
    const int32_t block = rows[r].blocks[position / kBlockTokens];
    const int64_t at = position % kBlockTokens;
    for (int64_t g = 0; g < shape_.kv_heads; ++g) {
      Rotate(rule, rope, position, k + g * dim, dim, 1.0f, kBlockTokens,
             keys + view.Cell(block, g) + at);
      std::copy(v + g * dim, v + (g + 1) * dim, values + view.Cell(block, g) + at * dim);
    }
  }
}

void KvCache::Attend(int64_t layer, const AttentionRule& rule, const RopeView& rope,
                     const float* qkv, absl::Span<const CacheRow> rows, float* out) const {
  const LayerView view{shape_, &rule, rope, keys_.get() + LayerOffset(layer),
                       values_.get() + LayerOffset(layer)};
  int64_t pairs = 0, longest = 0;
  for (const CacheRow& row : rows) {
    const Visible visible = VisibleTo(rule, row.position);
    pairs += visible.blocks;
    longest = std::max(longest, visible.blocks);
  }
  const int64_t items = static_cast<int64_t>(rows.size()) * shape_.kv_heads;
  const int64_t work = std::max<int64_t>(
      1, 2 * pairs * kBlockTokens * shape_.q_width() / std::max<int64_t>(1, items));
  at::parallel_for(0, items, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(longest * kBlockTokens + shape_.head_dim);
    simd::Dispatch(QueryKernel{view, qkv, rows.data(), begin, end, scratch.data(),
                               scratch.data() + longest * kBlockTokens, out});
  });
}

void KvCache::CopyBlock(const BlockCopy& copy) {
  const int64_t floats = BlockFloats();
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const int64_t from = (layer * blocks_ + copy.from) * floats;
    const int64_t to = (layer * blocks_ + copy.to) * floats;
    std::copy(keys_.get() + from, keys_.get() + from + floats, keys_.get() + to);
    std::copy(values_.get() + from, values_.get() + from + floats, values_.get() + to);
  }
}

}  // namespace retort::model
