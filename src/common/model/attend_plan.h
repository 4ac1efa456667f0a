// Which cached positions the rows of a decoding step read, as index arrays by which a device
// gathers them: rows of equal shape are attended together. Pure; no Torch. Internal to
// portable_decoder_kernels.cc and tests.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/model/attention.h"
#include "common/model/kv_cache.h"

namespace retort::model {

// Elements [begin, begin + count) of the step's one array of indices.
struct IndexRange {
  int64_t begin = 0;
  int64_t count = 0;
};

// What a step copies to the device, at once.
class IndexList {
 public:
  IndexRange Add(absl::Span<const int64_t> values);
  const std::vector<int64_t>& values() const { return values_; }
  absl::Span<const int64_t> Of(const IndexRange& range) const {
    return absl::MakeConstSpan(values_).subspan(range.begin, range.count);
  }

 private:
  std::vector<int64_t> values_;
};

// `sequences` runs of `queries` rows each, that follow each other in their sequence.
struct AttendGroup {
  int64_t sequences = 0;
  int64_t queries = 0;
  int64_t blocks = 0;    // That each reads: the most of any.
  IndexRange rows;       // [sequences * queries] of the step, ascending.
  IndexRange positions;  // [sequences * queries] of those rows.
  IndexRange tables;     // [sequences * blocks] block numbers; behind a sequence's own, block 0.
  IndexRange first;      // [sequences] the position where its first block begins.
};

// Bounds of what one group gathers and computes at once.
struct AttendLimits {
  int64_t gathered_elements = int64_t{1} << 26;  // Of keys, and as many of values.
  int64_t scores = int64_t{1} << 25;
  int64_t queries = 1024;  // Of one run.
};

// Groups for rows that attend by `rule` (only its window matters): runs of one row, as decoding
// has, are put together in the order of the rows; a longer run, of a prompt, is on its own. A group
// stays within `limits`, or has one row.
std::vector<AttendGroup> PlanAttention(const AttentionShape& shape, const AttentionRule& rule,
                                       absl::Span<const CacheRow> rows, const AttendLimits& limits,
                                       IndexList* indices);

// Whether these are numbers that follow each other, so that a slice does for a gather.
bool Consecutive(absl::Span<const int64_t> values);

// Where each row of the step is among the rows of its groups one after another; empty if each is in
// its own place.
IndexRange PlacesOf(absl::Span<const AttendGroup> groups, IndexList* indices);

}  // namespace retort::model
