#include "common/model/attention.h"

#include "common/model/attention_math.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

constexpr int64_t kBlock = 64;           // Queries whose weights backward keeps at once.
constexpr int64_t kPairGrain = 1 << 12;  // Query-key pairs worth a thread.
constexpr int kRowsAtOnce = 4;           // Queries that share each load of a key or value.

// One key-value head of one segment.
struct Item {
  int64_t first;  // Row.
  int64_t length;
  int64_t kv_head;
};

std::vector<Item> Items(const AttentionInput& input) {
  std::vector<Item> items;
  const std::vector<int64_t>& offsets = *input.offsets;
  // Heads outside: threads that share them out meet the same lengths.
  for (int64_t g = 0; g < input.shape.kv_heads; ++g) {
    for (size_t s = 0; s + 1 < offsets.size(); ++s) {
      if (offsets[s + 1] == offsets[s]) continue;
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
  float* queries;  // [kRowsAtOnce, head_dim]
  float* scratch;  // [kRowsAtOnce, scratch_stride]
  int64_t scratch_stride;
  float* out;
  float* lse;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    const AttentionShape& s = in.shape;
    const int64_t dim = s.head_dim, width = s.qkv_width();
    const int64_t group = s.heads / s.kv_heads;
    for (const Item* item = begin; item != end; ++item) {
      const float* rows = in.qkv + item->first * width + ColumnsOf(s, item->kv_head).k;
      const int64_t stride = KeyStride(item->length);
      std::fill(keys, keys + dim * stride, 0.0f);
      for (int64_t i = 0; i < item->length; ++i) {
        Rotate(in.rule, in.rope, in.positions[item->first + i], rows + i * width, dim, 1.0f, stride,
               keys + i);
      }
      for (int64_t g = 0; g < group; ++g) {
        int64_t i = 0;
        for (; i + kRowsAtOnce <= item->length; i += kRowsAtOnce) {
          Attend<kBytes, kRowsAtOnce>(*item, g, i);
        }
        for (; i < item->length; ++i) Attend<kBytes, 1>(*item, g, i);
      }
    }
  }

  // Queries i .. i + kRows of head g of the group.
  template <int kBytes, int kRows>
  RETORT_INLINE void Attend(const Item& item, int64_t g, int64_t i) const {
    const AttentionShape& s = in.shape;
    const int64_t dim = s.head_dim, width = s.qkv_width();
    const Columns at = ColumnsOf(s, item.kv_head);
    const int64_t column = at.q + g * dim, row = item.first + i;
    for (int r = 0; r < kRows; ++r) {
      Rotate(in.rule, in.rope, in.positions[row + r], in.qkv + (row + r) * width + column, dim,
             1.0f, 1, queries + r * dim);
    }
    AttendRows<kBytes, kRows>(
        in.rule, i, queries, keys, KeyStride(item.length), in.qkv + item.first * width + at.v,
        width, dim, scratch, scratch_stride, out + row * s.q_width() + column, s.q_width(),
        lse == nullptr ? nullptr : lse + row * s.heads + column / dim, s.heads);
  }
};

// Scratch of one backward item; all sizes for the longest.
struct BackwardScratch {
  std::vector<float> keys, values;      // Transposed, [head_dim, stride].
  std::vector<float> key_rows;          // [length, head_dim], rotated.
  std::vector<float> dkeys, dvalues;    // [length, head_dim]
  std::vector<float> queries;           // [kBlock, head_dim], rotated.
  std::vector<float> weights, dscores;  // [kBlock, stride]
  std::vector<float> dqueries;          // [kRowsAtOnce, head_dim]

  BackwardScratch(int64_t longest, int64_t dim)
      : keys(dim * KeyStride(longest)),
        values(dim * KeyStride(longest)),
        key_rows(longest * dim),
        dkeys(longest * dim),
        dvalues(longest * dim),
        queries(kBlock * dim),
        weights(kBlock * KeyStride(longest)),
        dscores(kBlock * KeyStride(longest)),
        dqueries(kRowsAtOnce * dim) {}
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

  // Queries [first, last) of head g of the group: writes their dq, adds to dkeys and dvalues.
  template <int kBytes>
  RETORT_INLINE void Block(const Item& item, int64_t g, int64_t first, int64_t last) const {
    const int64_t column = ColumnsOf(in.shape, item.kv_head).q + g * in.shape.head_dim;
    int64_t i = first;
    for (; i + kRowsAtOnce <= last; i += kRowsAtOnce) {
      Queries<kBytes, kRowsAtOnce>(item, column, i, i - first);
    }
    for (; i < last; ++i) Queries<kBytes, 1>(item, column, i, i - first);
    int64_t j = in.rule.first_key(first);
    for (; j + kRowsAtOnce <= last; j += kRowsAtOnce) {
      Keys<kBytes, kRowsAtOnce>(item, column, first, last, j);
    }
    for (; j < last; ++j) Keys<kBytes, 1>(item, column, first, last, j);
  }

  // Queries i .. i + kRows: dq, and their rows of weights and dscores from row `at` on, which hold
  // a value per key of the segment: 0 outside a query's window, as far as Keys reads.
  template <int kBytes, int kRows>
  RETORT_INLINE void Queries(const Item& item, int64_t column, int64_t i, int64_t at) const {
    const int64_t dim = in.shape.head_dim, q_width = in.shape.q_width();
    const int64_t stride = KeyStride(item.length), row = item.first + i;
    const int64_t begin = in.rule.first_key(i), end = i + kRows;
    const int64_t span = simd::PadLanes(end - begin);
    float* const queries = s.queries.data() + at * dim;
    float* const weights = s.weights.data() + at * stride;
    float* const dscores = s.dscores.data() + at * stride;
    for (int r = 0; r < kRows; ++r) {
      RotateAt(item, i + r, in.qkv + (row + r) * in.shape.qkv_width() + column, 1.0f,
               queries + r * dim);
    }
    simd::CombineRows<kBytes, kRows>(queries, dim, 1, dim, s.keys.data() + begin, stride, span,
                                     /*add=*/false, weights + begin, stride);
    const float* const gradients = dout + row * q_width + column;
    simd::CombineRows<kBytes, kRows>(gradients, q_width, 1, dim, s.values.data() + begin, stride,
                                     span, /*add=*/false, dscores + begin, stride);
    for (int r = 0; r < kRows; ++r) {
      const int64_t key = in.rule.first_key(i + r), last = i + r + 1;
      const float delta =
          simd::Dot<kBytes>(gradients + r * q_width, out + (row + r) * q_width + column, dim);
      ScoreGradients<kBytes>(last - key, lse[(row + r) * in.shape.heads + column / dim], delta,
                             weights + r * stride + key, dscores + r * stride + key);
      for (float* values : {weights + r * stride, dscores + r * stride}) {
        std::fill(values + std::min(begin, std::max<int64_t>(0, key - kRowsAtOnce + 1)),
                  values + key, 0.0f);
        std::fill(values + last, values + std::max(begin + span, last + kRowsAtOnce - 1), 0.0f);
      }
    }
    simd::CombineRows<kBytes, kRows>(dscores + begin, stride, 1, end - begin,
                                     s.key_rows.data() + begin * dim, dim, dim, /*add=*/false,
                                     s.dqueries.data(), dim);
    for (int r = 0; r < kRows; ++r) {
      RotateAt(item, i + r, s.dqueries.data() + r * dim, -1.0f,
               dqkv + (row + r) * in.shape.qkv_width() + column);
    }
  }

  // What queries [first, last) add to dkeys and dvalues of keys j .. j + kRows.
  template <int kBytes, int kRows>
  RETORT_INLINE void Keys(const Item& item, int64_t column, int64_t first, int64_t last,
                          int64_t j) const {
    const int64_t dim = in.shape.head_dim, q_width = in.shape.q_width();
    const int64_t stride = KeyStride(item.length), window = in.rule.window;
    const int64_t from = std::max(first, j);
    const int64_t to = window == 0 ? last : std::min(last, j + kRows - 1 + window);
    const int64_t at = (from - first) * stride + j;
    simd::CombineRows<kBytes, kRows>(s.weights.data() + at, 1, stride, to - from,
                                     dout + (item.first + from) * q_width + column, q_width, dim,
                                     /*add=*/true, s.dvalues.data() + j * dim, dim);
    simd::CombineRows<kBytes, kRows>(s.dscores.data() + at, 1, stride, to - from,
                                     s.queries.data() + (from - first) * dim, dim, dim,
                                     /*add=*/true, s.dkeys.data() + j * dim, dim);
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
    std::vector<float> queries(kRowsAtOnce * input.shape.head_dim);
    std::vector<float> scratch(kRowsAtOnce * stride);
    simd::Dispatch(ForwardKernel{input, items.data() + begin, items.data() + end, keys.data(),
                                 queries.data(), scratch.data(), stride, out, lse});
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
