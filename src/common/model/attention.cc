#include "common/model/attention.h"

#include "common/model/attention_math.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

constexpr int64_t kBlock = 64;           // Queries whose weights backward keeps at once.
constexpr int64_t kPairGrain = 1 << 12;  // Query-key pairs worth a thread.

// One key-value head of one segment.
struct Item {
  int64_t first;  // Row.
  int64_t length;
  int64_t kv_head;
};

std::vector<Item> Items(const AttentionInput& input) {
  std::vector<Item> items;
  const std::vector<int64_t>& offsets = *input.offsets;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    if (offsets[s + 1] == offsets[s]) continue;
    for (int64_t g = 0; g < input.shape.kv_heads; ++g) {
      items.push_back({offsets[s], offsets[s + 1] - offsets[s], g});
    }
  }
  return items;
}

int64_t LongestOf(const std::vector<Item>& items) {
  int64_t longest = 0;
  for (const Item& item : items) longest = std::max(longest, item.length);
  return longest;
}

int64_t ItemGrain(const std::vector<Item>& items) {
  const int64_t longest = std::max<int64_t>(1, LongestOf(items));
  return std::max<int64_t>(1, kPairGrain / (longest * longest));
}

// Where things lie in a row of qkv.
struct Columns {
  int64_t q, k, v;
};
RETORT_INLINE Columns ColumnsOf(const AttentionShape& s, int64_t kv_head) {
  const int64_t group = s.heads / s.kv_heads;
  return {kv_head * group * s.head_dim, s.q_width() + kv_head * s.head_dim,
          s.q_width() + s.kv_width() + kv_head * s.head_dim};
}

struct ForwardKernel {
  const AttentionInput& in;
  const Item* begin;
  const Item* end;
  float* keys;     // [head_dim, KeyStride(longest)]
  float* scratch;  // [KeyStride(longest) + head_dim]
  int64_t scratch_stride;
  float* out;
  float* lse;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    const AttentionShape& s = in.shape;
    const AttentionRule& rule = in.rule;
    const int64_t dim = s.head_dim, width = s.qkv_width();
    const int64_t group = s.heads / s.kv_heads;
    float* query = scratch + scratch_stride;
    for (const Item* item = begin; item != end; ++item) {
      const Columns at = ColumnsOf(s, item->kv_head);
      const float* rows = in.qkv + item->first * width;
      const int64_t* positions = in.positions + item->first;
      const int64_t stride = KeyStride(item->length);
      std::fill(keys, keys + dim * stride, 0.0f);
      for (int64_t i = 0; i < item->length; ++i) {
        Rotate(rule, in.rope, positions[i], rows + i * width + at.k, dim, 1.0f, stride, keys + i);
      }
      for (int64_t i = 0; i < item->length; ++i) {
        const int64_t key = rule.first_key(i);
        for (int64_t g = 0; g < group; ++g) {
          const int64_t row = item->first + i;
          Rotate(rule, in.rope, positions[i], rows + i * width + at.q + g * dim, dim, 1.0f, 1,
                 query);
          const float row_lse = AttendOne<kBytes>(
              rule, query, keys + key, stride, rows + key * width + at.v, width, i + 1 - key, dim,
              scratch, out + row * s.q_width() + at.q + g * dim);
          if (lse != nullptr) lse[row * s.heads + item->kv_head * group + g] = row_lse;
        }
      }
    }
  }
};

// Scratch of one backward item; all sizes for the longest.
struct BackwardScratch {
  std::vector<float> keys, values;      // Transposed, [head_dim, stride].
  std::vector<float> key_rows;          // [length, head_dim], rotated.
  std::vector<float> dkeys, dvalues;    // [length, head_dim]
  std::vector<float> queries;           // [kBlock, head_dim], rotated.
  std::vector<float> weights, dscores;  // [kBlock, stride]
  std::vector<float> dquery;            // [head_dim]

  BackwardScratch(int64_t longest, int64_t dim)
      : keys(dim * KeyStride(longest)),
        values(dim * KeyStride(longest)),
        key_rows(longest * dim),
        dkeys(longest * dim),
        dvalues(longest * dim),
        queries(kBlock * dim),
        weights(kBlock * KeyStride(longest)),
        dscores(kBlock * KeyStride(longest)),
        dquery(dim) {}
};

struct BackwardKernel {
  const AttentionInput& in;
  const Item* begin;
  const Item* end;
  BackwardScratch& s;
  const float* out;
  const float* lse;
  const float* dout;
  float* dqkv;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    const int64_t group = in.shape.heads / in.shape.kv_heads;
    for (const Item* item = begin; item != end; ++item) {
      LoadKeys(*item);
      for (int64_t g = 0; g < group; ++g) {
        for (int64_t first = 0; first < item->length; first += kBlock) {
          const int64_t last = std::min(item->length, first + kBlock);
          Block<kBytes>(*item, g, first, last);
        }
      }
      StoreKeys(*item);
    }
  }

  RETORT_INLINE void RotateAt(const Item& item, int64_t i, const float* x, float direction,
                              float* y) const {
    Rotate(in.rule, in.rope, in.positions[item.first + i], x, in.shape.head_dim, direction, 1, y);
  }

  RETORT_INLINE void LoadKeys(const Item& item) const {
    const int64_t dim = in.shape.head_dim, width = in.shape.qkv_width();
    const int64_t stride = KeyStride(item.length);
    const Columns at = ColumnsOf(in.shape, item.kv_head);
    std::fill(s.keys.begin(), s.keys.begin() + dim * stride, 0.0f);
    std::fill(s.values.begin(), s.values.begin() + dim * stride, 0.0f);
    std::fill(s.dkeys.begin(), s.dkeys.begin() + item.length * dim, 0.0f);
    std::fill(s.dvalues.begin(), s.dvalues.begin() + item.length * dim, 0.0f);
    for (int64_t i = 0; i < item.length; ++i) {
      const float* row = in.qkv + (item.first + i) * width;
      float* key = s.key_rows.data() + i * dim;
      RotateAt(item, i, row + at.k, 1.0f, key);
      for (int64_t c = 0; c < dim; ++c) {
        s.keys[c * stride + i] = key[c];
        s.values[c * stride + i] = row[at.v + c];
      }
    }
  }

  RETORT_INLINE void StoreKeys(const Item& item) const {
    const int64_t dim = in.shape.head_dim, width = in.shape.qkv_width();
    const Columns at = ColumnsOf(in.shape, item.kv_head);
    for (int64_t i = 0; i < item.length; ++i) {
      float* row = dqkv + (item.first + i) * width;
      RotateAt(item, i, s.dkeys.data() + i * dim, -1.0f, row + at.k);
      std::copy(s.dvalues.begin() + i * dim, s.dvalues.begin() + (i + 1) * dim, row + at.v);
    }
  }

  // Queries [first, last) of head g of the group: writes their dq, adds to dkeys and dvalues. Rows
  // of weights and dscores hold a value per key of the segment, of which only the window is set.
  template <int kBytes>
  RETORT_INLINE void Block(const Item& item, int64_t g, int64_t first, int64_t last) const {
    const AttentionShape& shape = in.shape;
    const int64_t dim = shape.head_dim, width = shape.qkv_width(), q_width = shape.q_width();
    const int64_t stride = KeyStride(item.length);
    const int64_t column = ColumnsOf(shape, item.kv_head).q + g * dim;
    const int64_t head = column / dim;
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = item.first + i;
      float* query = s.queries.data() + (i - first) * dim;
      float* weights = s.weights.data() + (i - first) * stride;
      float* dscores = s.dscores.data() + (i - first) * stride;
      const int64_t key = in.rule.first_key(i), keys = i + 1 - key;
      RotateAt(item, i, in.qkv + row * width + column, 1.0f, query);
      Scores<kBytes>(query, s.keys.data() + key, stride, keys, dim, weights + key);
      Scores<kBytes>(dout + row * q_width + column, s.values.data() + key, stride, keys, dim,
                     dscores + key);
      const float delta =
          simd::Dot<kBytes>(dout + row * q_width + column, out + row * q_width + column, dim);
      ScoreGradients<kBytes>(keys, lse[row * shape.heads + head], delta, weights + key,
                             dscores + key);
      simd::Combine<kBytes>(dscores + key, 1, keys, s.key_rows.data() + key * dim, dim, dim,
                            /*add=*/false, s.dquery.data());
      RotateAt(item, i, s.dquery.data(), -1.0f, dqkv + row * width + column);
    }
    const float* gradients = dout + item.first * q_width + column;
    for (int64_t j = in.rule.first_key(first); j < last; ++j) {
      const int64_t from = std::max(first, j);
      const int64_t to = in.rule.window == 0 ? last : std::min(last, j + in.rule.window);
      const int64_t at = (from - first) * stride + j;
      simd::Combine<kBytes>(s.weights.data() + at, stride, to - from, gradients + from * q_width,
                            q_width, dim, /*add=*/true, s.dvalues.data() + j * dim);
      simd::Combine<kBytes>(s.dscores.data() + at, stride, to - from,
                            s.queries.data() + (from - first) * dim, dim, dim, /*add=*/true,
                            s.dkeys.data() + j * dim);
    }
  }

  // weights: raw scores -> probabilities. dscores: derivatives of probabilities -> of raw scores.
  template <int kBytes>
  RETORT_INLINE void ScoreGradients(int64_t length, float row_lse, float delta, float* weights,
                                    float* dscores) const {
    constexpr int kLanes = kBytes / 4;
    const float scale = in.rule.scale, cap = in.rule.soft_cap;
    if (cap > 0) {
      for (int64_t i = 0; i < length; i += kLanes) {
        simd::Float<kBytes> t, p, d;
        simd::Load<kBytes>(weights + i, t);
        simd::Load<kBytes>(dscores + i, d);
        t = t * (scale / cap);
        Tanh<kBytes>(t);
        p = t * cap - row_lse;
        simd::Exp<kBytes>(p);
        simd::Store<kBytes>(p, weights + i);
        simd::Store<kBytes>(p * (d - delta) * (1.0f - t * t) * scale, dscores + i);
      }
      return;
    }
    for (int64_t i = 0; i < length; i += kLanes) {
      simd::Float<kBytes> p, d;
      simd::Load<kBytes>(weights + i, p);
      simd::Load<kBytes>(dscores + i, d);
      p = p * scale - row_lse;
      simd::Exp<kBytes>(p);
      simd::Store<kBytes>(p, weights + i);
      simd::Store<kBytes>(p * (d - delta) * scale, dscores + i);
    }
  }
};

}  // namespace

void AttentionForward(const AttentionInput& input, float* out, float* lse) {
  const std::vector<Item> items = Items(input);
  const int64_t stride = KeyStride(LongestOf(items));
  at::parallel_for(0, items.size(), ItemGrain(items), [&](int64_t begin, int64_t end) {
    std::vector<float> keys(input.shape.head_dim * stride);
    std::vector<float> scratch(stride + input.shape.head_dim);
    simd::Dispatch(ForwardKernel{input, items.data() + begin, items.data() + end, keys.data(),
                                 scratch.data(), stride, out, lse});
  });
}

void AttentionBackward(const AttentionInput& input, const float* out, const float* lse,
                       const float* dout, float* dqkv) {
  const std::vector<Item> items = Items(input);
  at::parallel_for(0, items.size(), ItemGrain(items), [&](int64_t begin, int64_t end) {
    BackwardScratch scratch(LongestOf(items), input.shape.head_dim);
    simd::Dispatch(BackwardKernel{input, items.data() + begin, items.data() + end, scratch, out,
                                  lse, dout, dqkv});
  });
}

}  // namespace retort::model
