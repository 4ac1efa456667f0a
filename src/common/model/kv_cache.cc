#include <ATen/Parallel.h>

#include "common/base/check.h"
#include "common/model/attention_math.h"

namespace retort::model {
namespace {

constexpr int64_t kElementGrain = 1 << 14;

struct DecodeKernel {
  const AttentionShape& shape;
  const RopeView& rope;
  const float* qkv;
  const int64_t* slots;
  const int64_t* positions;
  int64_t begin, end;  // Items row * kv_heads + kv_head.
  const float* keys;
  const float* values;
  int64_t key_stride, capacity;
  float* scratch;  // [key_stride + head_dim]
  float* out;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    const int64_t dim = shape.head_dim, half = dim / 2;
    const int64_t group = shape.heads / shape.kv_heads;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
    float* query = scratch + key_stride;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / shape.kv_heads, kv_head = item % shape.kv_heads;
      const int64_t p = positions[row];
      const int64_t cell = slots[row] * shape.kv_heads + kv_head;
      for (int64_t g = 0; g < group; ++g) {
        const int64_t column = (kv_head * group + g) * dim;
        Rotate(qkv + row * shape.qkv_width() + column, rope.cos + p * half, rope.sin + p * half,
               dim, 1.0f, 1, query);
        AttendOne<kBytes>(query, keys + cell * dim * key_stride, key_stride,
                          values + cell * capacity * dim, dim, p + 1, dim, scale, scratch,
                          out + row * shape.q_width() + column);
      }
    }
  }
};

}  // namespace

int64_t KvCache::SlotElements(const AttentionShape& shape, int64_t capacity) {
  return shape.kv_width() * (KeyStride(capacity) + capacity);
}

KvCache::KvCache(const AttentionShape& shape, int64_t slots, int64_t capacity)
    : shape_(shape),
      capacity_(capacity),
      key_stride_(KeyStride(capacity)),
      keys_(slots * shape.kv_width() * key_stride_),
      values_(slots * shape.kv_width() * capacity) {}

void KvCache::Attend(const RopeView& rope, const float* qkv, const int64_t* slots,
                     const int64_t* positions, int64_t rows, float* out) {
  const int64_t dim = shape_.head_dim, half = dim / 2;
  const int64_t row_grain = std::max<int64_t>(1, kElementGrain / shape_.qkv_width());
  at::parallel_for(0, rows, row_grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t p = positions[row];
      for (int64_t g = 0; g < shape_.kv_heads; ++g) {
        const float* k = qkv + row * shape_.qkv_width() + shape_.q_width() + g * dim;
        const float* v = k + shape_.kv_width();
        const int64_t cell = slots[row] * shape_.kv_heads + g;
        Rotate(k, rope.cos + p * half, rope.sin + p * half, dim, 1.0f, key_stride_,
               keys_.data() + cell * dim * key_stride_ + p);
        std::copy(v, v + dim, values_.data() + (cell * capacity_ + p) * dim);
      }
    }
  });
  const int64_t item_grain =
      std::max<int64_t>(1, kElementGrain / (dim * std::max<int64_t>(1, capacity_)));
  at::parallel_for(0, rows * shape_.kv_heads, item_grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(key_stride_ + dim);
    simd::Dispatch(DecodeKernel{shape_, rope, qkv, slots, positions, begin, end, keys_.data(),
                                values_.data(), key_stride_, capacity_, scratch.data(), out});
  });
}

void KvCache::CopyPrefix(int64_t from, int64_t to, int64_t length) {
  RETORT_CHECK(length <= capacity_) << "prefix of " << length << " in a slot of " << capacity_;
  const int64_t dim = shape_.head_dim;
  for (int64_t g = 0; g < shape_.kv_heads; ++g) {
    const int64_t source = from * shape_.kv_heads + g, target = to * shape_.kv_heads + g;
    for (int64_t c = 0; c < dim; ++c) {
      const float* row = keys_.data() + (source * dim + c) * key_stride_;
      std::copy(row, row + length, keys_.data() + (target * dim + c) * key_stride_);
    }
    const float* first = values_.data() + source * capacity_ * dim;
    std::copy(first, first + length * dim, values_.data() + target * capacity_ * dim);
  }
}

}  // namespace retort::model
