#include "common/text/string_set.h"

#include <algorithm>
#include <cstring>
#include <deque>

namespace retort::text {

StringSet::StringSet(std::vector<std::pair<std::string, int32_t>> strings) {
  if (strings.empty()) return;
  std::stable_sort(strings.begin(), strings.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // strings[begin, end) share their first `depth` bytes, which lead to `node`.
  struct Open {
    uint32_t node;
    size_t begin, end, depth;
  };
  nodes_.emplace_back();
  std::deque<Open> open = {{0, 0, strings.size(), 0}};
  for (; !open.empty(); open.pop_front()) {
    auto [node, begin, end, depth] = open.front();
    for (; begin < end && strings[begin].first.size() == depth; ++begin) {
      nodes_[node].id = strings[begin].second;
    }
    nodes_[node].first_edge = static_cast<uint32_t>(labels_.size());
    while (begin < end) {
      const char label = strings[begin].first[depth];
      size_t behind = begin;
      while (behind < end && strings[behind].first[depth] == label) ++behind;
      labels_.push_back(label);
      targets_.push_back(static_cast<uint32_t>(nodes_.size()));
      open.push_back({targets_.back(), begin, behind, depth + 1});
      nodes_.emplace_back();
      ++nodes_[node].edge_count;
      begin = behind;
    }
  }
  for (uint32_t edge = 0; edge < nodes_[0].edge_count; ++edge) {
    roots_[static_cast<uint8_t>(labels_[edge])] = targets_[edge];
  }
  if (nodes_[0].edge_count == 1) only_start_ = labels_[0];
}

size_t StringSet::NextStart(absl::string_view text, size_t from) const {
  if (only_start_) {
    if (from >= text.size()) return text.size();
    const void* at = std::memchr(text.data() + from, *only_start_, text.size() - from);
    return at == nullptr ? text.size()
                         : static_cast<size_t>(static_cast<const char*>(at) - text.data());
  }
  while (from < text.size() && roots_[static_cast<uint8_t>(text[from])] == 0) ++from;
  return from;
}

uint32_t StringSet::Child(uint32_t node, char label) const {
  const Node& parent = nodes_[node];
  const char* const labels = labels_.data() + parent.first_edge;
  for (uint32_t i = 0; i < parent.edge_count; ++i) {
    if (labels[i] == label) return targets_[parent.first_edge + i];
  }
  return 0;
}

std::optional<StringSet::Hit> StringSet::FindFrom(absl::string_view text, size_t from) const {
  if (nodes_.empty()) return std::nullopt;
  for (size_t begin = NextStart(text, from); begin < text.size();
       begin = NextStart(text, begin + 1)) {
    std::optional<Hit> longest;
    uint32_t node = roots_[static_cast<uint8_t>(text[begin])];
    for (size_t i = begin + 1; node != 0; ++i) {
      if (nodes_[node].id >= 0) longest = Hit{begin, i, nodes_[node].id};
      if (i >= text.size()) break;
      node = Child(node, text[i]);
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace retort::text
