// Finds the strings of a set in a text: a trie whose edges lie side by side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text {

// Immutable once made.
class StringSet {
 public:
  StringSet() = default;
  // Strings, none empty, and their ids >= 0. Of equal strings the last counts.
  explicit StringSet(std::vector<std::pair<std::string, int32_t>> strings);

  bool empty() const { return nodes_.empty(); }

  struct Hit {
    size_t begin, end;
    int32_t id;
  };
  // The leftmost string at or behind `from`, and of those at one place the longest.
  std::optional<Hit> FindFrom(absl::string_view text, size_t from) const;

 private:
  struct Node {
    uint32_t first_edge = 0;
    uint32_t edge_count = 0;
    int32_t id = -1;
  };
  size_t NextStart(absl::string_view text, size_t from) const;
  // 0 if there is no such edge: no edge leads to the root.
  uint32_t Child(uint32_t node, char label) const;

  std::vector<Node> nodes_;
  std::string labels_;             // Of the edges, sorted within a node.
  std::vector<uint32_t> targets_;  // Of the edges.
  std::array<uint32_t, 256> roots_{};
  std::optional<char> only_start_;  // When all strings begin with it.
};

}  // namespace retort::text
