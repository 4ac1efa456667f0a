#include "worker/learner/rank_share.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/packing.h"

namespace retort::worker {

absl::StatusOr<std::vector<std::vector<int64_t>>> MicroBatchesOfRank(
    absl::Span<const int64_t> samples, absl::Span<const int64_t> lengths, int64_t max_tokens,
    int rank, int world_size) {
  std::vector<int64_t> costs;
  for (const int64_t sample : samples) costs.push_back(lengths[sample]);
  const std::vector<int64_t> mine = data::BalanceRanks(costs, world_size)[rank];
  std::vector<int64_t> my_lengths;
  for (const int64_t position : mine) {
    if (costs[position] > max_tokens) {
      return absl::InvalidArgumentError(absl::StrCat("optimizer.micro_batch_tokens is ", max_tokens,
                                                     ", but a sample has ", costs[position],
                                                     " tokens; raise it"));
    }
    my_lengths.push_back(costs[position]);
  }
  RETORT_ASSIGN_OR_RETURN(std::vector<std::vector<int64_t>> groups,
                          data::PackMicroBatches(my_lengths, max_tokens));
  for (std::vector<int64_t>& group : groups) {
    for (int64_t& member : group) member = samples[mine[member]];
  }
  return groups;
}

}  // namespace retort::worker
