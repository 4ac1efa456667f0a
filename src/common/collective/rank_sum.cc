#include "common/collective/rank_sum.h"

#include <algorithm>
#include <cstring>

#include "absl/types/span.h"
#include "common/base/check.h"

namespace retort::collective {
namespace {

constexpr int64_t kLineBytes = 64;
// How far ahead of the additions memory is asked for: what hides its latency for one core.
constexpr int64_t kPrefetchBytes = 1024;
constexpr int64_t kSliceElements = 16;  // A multiple of a cache line for every type.

template <typename T>
T Plus(T a, T b) {
  return a + b;
}

// Overflow of int64 wraps instead of being undefined.
template <>
int64_t Plus<int64_t>(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

// One cache line at a time, so that an in-place sum stores into lines that it has just read: the
// memory then carries each line once in and once out, as in a copy.
template <typename T>
void SumLines(absl::Span<const void* const> sources, int64_t count,
              absl::Span<void* const> destinations) {
  constexpr int64_t kLine = kLineBytes / static_cast<int64_t>(sizeof(T));
  int64_t first = 0;
  for (; first + kLine <= count; first += kLine) {
    alignas(kLineBytes) T sum[kLine];
    for (size_t r = 0; r < sources.size(); ++r) {
      const T* const x = static_cast<const T*>(sources[r]) + first;
      __builtin_prefetch(reinterpret_cast<const char*>(x) + kPrefetchBytes);
      if (r == 0) {
        std::memcpy(sum, x, kLineBytes);
        continue;
      }
      // A loop of known length: the compiler vectorises over elements, which leaves each element's
      // order alone.
      for (int64_t i = 0; i < kLine; ++i) sum[i] = Plus(sum[i], x[i]);
    }
    for (void* const to : destinations) std::memcpy(static_cast<T*>(to) + first, sum, kLineBytes);
  }
  for (; first < count; ++first) {
    T sum = static_cast<const T*>(sources[0])[first];
    for (const void* const source : sources.subspan(1)) {
      sum = Plus(sum, static_cast<const T*>(source)[first]);
    }
    for (void* const to : destinations) static_cast<T*>(to)[first] = sum;
  }
}

}  // namespace

void SumInRankOrder(absl::Span<const void* const> sources, int64_t count, ElementType type,
                    absl::Span<void* const> destinations) {
  switch (type) {
    case ElementType::kFloat32:
      return SumLines<float>(sources, count, destinations);
    case ElementType::kFloat64:
      return SumLines<double>(sources, count, destinations);
    case ElementType::kInt64:
      return SumLines<int64_t>(sources, count, destinations);
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
