#include "common/data/packing.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace retort::data {
namespace {

// Indices of `values`, largest value first; equal values keep their order.
std::vector<int64_t> DescendingOrder(absl::Span<const int64_t> values) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  return order;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<int64_t>>> PackMicroBatches(
    absl::Span<const int64_t> lengths, int64_t max_tokens) {
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] >= 1 && lengths[i] <= max_tokens) continue;
    return absl::InvalidArgumentError(absl::StrCat("sequence ", i, " has ", lengths[i],
                                                   " tokens; expected 1 to ", max_tokens,
                                                   " (optimizer.micro_batch_tokens)"));
  }
  std::vector<std::vector<int64_t>> groups;
  std::set<std::pair<int64_t, size_t>>
      room;  // (tokens left, group): the fullest that fits is first.
  for (const int64_t i : DescendingOrder(lengths)) {
    const auto fit = room.lower_bound({lengths[i], 0});
    size_t group = groups.size();
    int64_t left = max_tokens;
    if (fit != room.end()) {
      std::tie(left, group) = *fit;
      room.erase(fit);
    } else {
      groups.emplace_back();
    }
    groups[group].push_back(i);
    room.insert({left - lengths[i], group});
  }
  for (std::vector<int64_t>& group : groups) std::sort(group.begin(), group.end());
  std::sort(groups.begin(), groups.end());  // By first index: the groups are disjoint.
  return groups;
}

std::vector<std::vector<int64_t>> BalanceRanks(absl::Span<const int64_t> costs, int world_size) {
  RETORT_CHECK(world_size >= 1) << "world size " << world_size;
  std::vector<std::vector<int64_t>> ranks(world_size);
  std::set<std::tuple<int64_t, size_t, int>> load;  // (cost, items, rank)
  for (int rank = 0; rank < world_size; ++rank) load.insert({0, 0, rank});
  for (const int64_t i : DescendingOrder(costs)) {
    const auto [cost, items, rank] = *load.begin();
    load.erase(load.begin());
    ranks[rank].push_back(i);
    load.insert({cost + costs[i], items + 1, rank});
  }
  for (std::vector<int64_t>& rank : ranks) std::sort(rank.begin(), rank.end());
  return ranks;
}

}  // namespace retort::data
