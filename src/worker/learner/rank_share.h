// Which samples a rank computes, and in which micro-batches. A function of lengths alone, the same
// on every rank.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace retort::worker {

// Splits `samples` over the ranks by token cost (data::BalanceRanks) and packs this rank's part
// into micro-batches of at most `max_tokens` (data::PackMicroBatches).
//   samples  indices into `lengths`, any order.
//   lengths  tokens of every sample of the step.
//   returns  micro-batches of members of `samples`; none when the rank has no sample.
// Errors: INVALID_ARGUMENT naming optimizer.micro_batch_tokens if a sample is longer.
absl::StatusOr<std::vector<std::vector<int64_t>>> MicroBatchesOfRank(
    absl::Span<const int64_t> samples, absl::Span<const int64_t> lengths, int64_t max_tokens,
    int rank, int world_size);

}  // namespace retort::worker
