#include "common/collective/rank_sum.h"

#include <algorithm>
#include <cstring>

#include "absl/types/span.h"
#include "common/base/check.h"
#include "common/collective/stream_store.h"

namespace retort::collective {
namespace {

// A block stays in the first-level cache between the additions and the stores.
constexpr int64_t kBlockBytes = 4096;
constexpr int64_t kSliceElements = 16;  // A multiple of a cache line for every type.

// Blocks are added as whole arrays: the compiler vectorises over elements, which leaves each
// element's order alone.
template <typename T>
void Add(T* __restrict sum, const T* __restrict x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
}

// Overflow of int64 wraps instead of being undefined.
template <>
void Add<int64_t>(int64_t* __restrict sum, const int64_t* __restrict x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) + static_cast<uint64_t>(x[i]));
  }
}

template <typename T>
void SumBlocks(absl::Span<const void* const> sources, int64_t count,
               absl::Span<void* const> destinations, StoreKind store) {
  constexpr int64_t kBlock = kBlockBytes / static_cast<int64_t>(sizeof(T));
  alignas(64) T sum[kBlock];
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t n = std::min(kBlock, count - first);
    const size_t bytes = static_cast<size_t>(n) * sizeof(T);
    std::memcpy(sum, static_cast<const T*>(sources[0]) + first, bytes);
    for (const void* const source : sources.subspan(1)) {
      Add(sum, static_cast<const T*>(source) + first, n);
    }
    for (void* const destination : destinations) {
      T* const out = static_cast<T*>(destination) + first;
      if (store == StoreKind::kStreamed) {
        StreamStore(out, sum, bytes);
      } else {
        std::memcpy(out, sum, bytes);
      }
    }
  }
}

}  // namespace

void SumInRankOrder(absl::Span<const void* const> sources, int64_t count, ElementType type,
                    absl::Span<void* const> destinations, StoreKind store) {
  switch (type) {
    case ElementType::kFloat32:
      return SumBlocks<float>(sources, count, destinations, store);
    case ElementType::kFloat64:
      return SumBlocks<double>(sources, count, destinations, store);
    case ElementType::kInt64:
      return SumBlocks<int64_t>(sources, count, destinations, store);
    case ElementType::kByte:
      RETORT_CHECK(false) << "bytes are moved, never summed";
  }
}

Slice SliceOfRank(int64_t count, int rank, int world_size) {
  const int64_t lines = (count + kSliceElements - 1) / kSliceElements;
  const int64_t first = lines * rank / world_size;
  const int64_t last = lines * (rank + 1) / world_size;
  return {std::min(first * kSliceElements, count), std::min(last * kSliceElements, count)};
}

}  // namespace retort::collective
