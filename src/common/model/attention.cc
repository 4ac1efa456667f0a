#include "common/model/attention.h"

#include <ATen/Parallel.h>

#include "common/model/attention_math.h"

namespace retort::model {
namespace {

constexpr int64_t kBlock = 64;           // Queries whose weights backward keeps at once.
constexpr int64_t kPairGrain = 1 << 12;  // Query-key pairs worth a thread.

float Scale(const AttentionShape& shape) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
}

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
    const int64_t dim = s.head_dim, half = dim / 2, width = s.qkv_width();
    const int64_t group = s.heads / s.kv_heads;
    const float scale = Scale(s);
    float* query = scratch + scratch_stride;
    for (const Item* item = begin; item != end; ++item) {
      const Columns at = ColumnsOf(s, item->kv_head);
      const float* rows = in.qkv + item->first * width;
      const int64_t* positions = in.positions + item->first;
      const int64_t stride = KeyStride(item->length);
      std::fill(keys, keys + dim * stride, 0.0f);
      for (int64_t i = 0; i < item->length; ++i) {
        Rotate(rows + i * width + at.k, in.rope.cos + positions[i] * half,
               in.rope.sin + positions[i] * half, dim, 1.0f, stride, keys + i);
      }
      for (int64_t i = 0; i < item->length; ++i) {
        for (int64_t g = 0; g < group; ++g) {
          const int64_t row = item->first + i;
          Rotate(rows + i * width + at.q + g * dim, in.rope.cos + positions[i] * half,
                 in.rope.sin + positions[i] * half, dim, 1.0f, 1, query);
          const float row_lse =
              AttendOne<kBytes>(query, keys, stride, rows + at.v, width, i + 1, dim, scale, scratch,
                                out + row * s.q_width() + at.q + g * dim);
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

  const float* Cos(const Item& item, int64_t i) const {
    return in.rope.cos + in.positions[item.first + i] * (in.shape.head_dim / 2);
  }
  const float* Sin(const Item& item, int64_t i) const {
    return in.rope.sin + in.positions[item.first + i] * (in.shape.head_dim / 2);
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
      Rotate(row + at.k, Cos(item, i), Sin(item, i), dim, 1.0f, 1, key);
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
      Rotate(s.dkeys.data() + i * dim, Cos(item, i), Sin(item, i), dim, -1.0f, 1, row + at.k);
      std::copy(s.dvalues.begin() + i * dim, s.dvalues.begin() + (i + 1) * dim, row + at.v);
    }
  }

  // Queries [first, last) of head g of the group: writes their dq, adds to dkeys and dvalues.
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
      Rotate(in.qkv + row * width + column, Cos(item, i), Sin(item, i), dim, 1.0f, 1, query);
      Scores<kBytes>(query, s.keys.data(), stride, i + 1, dim, weights);
      Scores<kBytes>(dout + row * q_width + column, s.values.data(), stride, i + 1, dim, dscores);
      const float delta =
          simd::Dot<kBytes>(dout + row * q_width + column, out + row * q_width + column, dim);
      ScoreGradients<kBytes>(i + 1, lse[row * shape.heads + head], delta, weights, dscores);
      simd::Combine<kBytes>(dscores, 1, i + 1, s.key_rows.data(), dim, dim, /*add=*/false,
                            s.dquery.data());
      Rotate(s.dquery.data(), Cos(item, i), Sin(item, i), dim, -1.0f, 1,
             dqkv + row * width + column);
    }
    const float* gradients = dout + item.first * q_width + column;
    for (int64_t j = 0; j < last; ++j) {
      const int64_t from = std::max(first, j);
      const int64_t at = (from - first) * stride + j;
      simd::Combine<kBytes>(s.weights.data() + at, stride, last - from, gradients + from * q_width,
                            q_width, dim, /*add=*/true, s.dvalues.data() + j * dim);
      simd::Combine<kBytes>(s.dscores.data() + at, stride, last - from,
                            s.queries.data() + (from - first) * dim, dim, dim, /*add=*/true,
                            s.dkeys.data() + j * dim);
    }
  }

  // weights: raw scores -> probabilities. dscores: derivatives of probabilities -> of raw scores.
  template <int kBytes>
  RETORT_INLINE void ScoreGradients(int64_t length, float row_lse, float delta, float* weights,
                                    float* dscores) const {
    constexpr int kLanes = kBytes / 4;
    const float scale = Scale(in.shape);
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
