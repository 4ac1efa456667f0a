#include "common/model/attend_plan.h"

#include <algorithm>

namespace retort::model {
namespace {

// Rows [first, first + count) of one sequence, and the blocks that they see.
struct Run {
  int64_t first = 0;
  int64_t count = 0;
  int64_t begin_block = 0;
  int64_t blocks = 0;
};

Run RunOf(const AttentionRule& rule, absl::Span<const CacheRow> rows, int64_t first,
          int64_t count) {
  const int64_t begin = rule.first_key(rows[first].position) / kBlockTokens;
  const int64_t last = rows[first + count - 1].position / kBlockTokens;
  return {first, count, begin, last - begin + 1};
}

// Consecutive positions of one sequence, cut into pieces whose scores are not too many.
std::vector<Run> RunsOf(const AttentionShape& shape, const AttentionRule& rule,
                        absl::Span<const CacheRow> rows, const AttendLimits& limits) {
  std::vector<Run> runs;
  const int64_t total = static_cast<int64_t>(rows.size());
  for (int64_t first = 0; first < total;) {
    int64_t end = first + 1;
    while (end < total && end - first < limits.queries && rows[end].blocks == rows[first].blocks &&
           rows[end].position == rows[end - 1].position + 1) {
      const Run longer = RunOf(rule, rows, first, end + 1 - first);
      if (longer.count * longer.blocks * kBlockTokens * shape.heads > limits.scores) break;
      ++end;
    }
    runs.push_back(RunOf(rule, rows, first, end - first));
    first = end;
  }
  return runs;
}

bool Fits(const AttentionShape& shape, const AttendLimits& limits, int64_t sequences,
          int64_t blocks) {
  const int64_t keys = sequences * blocks * kBlockTokens;
  return keys * shape.kv_width() <= limits.gathered_elements && keys * shape.heads <= limits.scores;
}

AttendGroup GroupOf(absl::Span<const Run> runs, absl::Span<const CacheRow> rows,
                    IndexList* indices) {
  AttendGroup group;
  group.sequences = static_cast<int64_t>(runs.size());
  group.queries = runs[0].count;
  for (const Run& run : runs) group.blocks = std::max(group.blocks, run.blocks);
  std::vector<int64_t> numbers, positions, first, tables;
  for (const Run& run : runs) {
    for (int64_t r = run.first; r < run.first + run.count; ++r) {
      numbers.push_back(r);
      positions.push_back(rows[r].position);
    }
    first.push_back(run.begin_block * kBlockTokens);
    const int32_t* const blocks = rows[run.first].blocks + run.begin_block;
    tables.insert(tables.end(), blocks, blocks + run.blocks);
    tables.resize(tables.size() + group.blocks - run.blocks, 0);
  }
  group.rows = indices->Add(numbers);
  group.positions = indices->Add(positions);
  group.tables = indices->Add(tables);
  group.first = indices->Add(first);
  return group;
}

}  // namespace

IndexRange IndexList::Add(absl::Span<const int64_t> values) {
  const int64_t begin = static_cast<int64_t>(values_.size());
  values_.insert(values_.end(), values.begin(), values.end());
  return {begin, static_cast<int64_t>(values.size())};
}

std::vector<AttendGroup> PlanAttention(const AttentionShape& shape, const AttentionRule& rule,
                                       absl::Span<const CacheRow> rows, const AttendLimits& limits,
                                       IndexList* indices) {
  std::vector<AttendGroup> groups;
  std::vector<Run> single;  // The runs of one row that the next group will hold.
  int64_t blocks = 0;       // The most of any of them.
  const auto close = [&] {
    if (!single.empty()) groups.push_back(GroupOf(single, rows, indices));
    single.clear();
    blocks = 0;
  };
  for (const Run& run : RunsOf(shape, rule, rows, limits)) {
    if (run.count > 1) {
      groups.push_back(GroupOf({&run, 1}, rows, indices));
      continue;
    }
    const int64_t together = static_cast<int64_t>(single.size()) + 1;
    if (!Fits(shape, limits, together, std::max(blocks, run.blocks))) close();
    single.push_back(run);
    blocks = std::max(blocks, run.blocks);
  }
  close();
  return groups;
}

bool Consecutive(absl::Span<const int64_t> values) {
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] != values[0] + static_cast<int64_t>(i)) return false;
  }
  return true;
}

IndexRange PlacesOf(absl::Span<const AttendGroup> groups, IndexList* indices) {
  std::vector<int64_t> rows;
  for (const AttendGroup& group : groups) {
    const absl::Span<const int64_t> own = indices->Of(group.rows);
    rows.insert(rows.end(), own.begin(), own.end());
  }
  if (Consecutive(rows)) return {};
  std::vector<int64_t> places(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) places[rows[i]] = static_cast<int64_t>(i);
  return indices->Add(places);
}

}  // namespace retort::model
