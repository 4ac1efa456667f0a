// Packing of sequence lengths into micro-batches and balancing of costs over ranks. Pure and
// deterministic: who computes what must follow from the input alone, or a replay diverges.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace retort::data {

// Groups sequences into micro-batches of at most `max_tokens`, best fit decreasing.
//   lengths  [N], tokens per sequence, each in [1, max_tokens].
//   returns  groups of indices into `lengths`; ascending inside a group, groups ordered by their
//            first index. Equal lengths take the lower index first, equal room the older group.
// Errors: INVALID_ARGUMENT if a length is out of range; names the index.
absl::StatusOr<std::vector<std::vector<int64_t>>> PackMicroBatches(
    absl::Span<const int64_t> lengths, int64_t max_tokens);

// Shares items out to ranks so that the largest sum of costs is small (longest first, each to the
// rank with the least cost, then the fewest items, then the lowest number).
//   costs    [N], >= 0.        world_size >= 1.
//   returns  [world_size] groups of indices into `costs`, ascending inside a group; some may be
//            empty.
std::vector<std::vector<int64_t>> BalanceRanks(absl::Span<const int64_t> costs, int world_size);

}  // namespace retort::data
