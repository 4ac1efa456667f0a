// The one sum that all backends use, so that they agree bit for bit. Internal to collective/.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "common/collective/collective.h"

namespace retort::collective {

// Writes x0 + x1 + ... + x(n-1), element by element and in this order, to every destination.
//   sources       [n], n >= 1, each `count` elements of `type` (not kByte)
//   destinations  each `count` elements; one may be equal to a source, none may overlap one in part
void SumInRankOrder(absl::Span<const void* const> sources, int64_t count, ElementType type,
                    absl::Span<void* const> destinations);

// Elements [first, last) of `count` that rank `rank` sums: whole cache lines, in rank order, some
// perhaps empty.
struct Slice {
  int64_t first = 0;
  int64_t last = 0;
  int64_t count() const { return last - first; }
};
Slice SliceOfRank(int64_t count, int rank, int world_size);

}  // namespace retort::collective
