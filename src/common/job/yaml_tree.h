// A strict subset of YAML as a tree with positions. Internal to job/: the one place that knows
// yaml-cpp.
//
// Refused, because a job file must mean one thing to every reader: anchors, aliases, tags,
// duplicate keys, several documents, keys that are no plain text, control characters, bytes that
// are not UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::job {

inline constexpr int64_t kMaxJobFileBytes = int64_t{1} << 20;
inline constexpr int kMaxYamlDepth = 64;
inline constexpr int kMaxYamlNodes = 65536;

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  std::string where;               // "job.yaml:12:5", or "--set a.b.c".
  std::string text;                // kScalar.
  bool quoted = false;             // kScalar: a string whatever it looks like.
  std::vector<YamlNode> items;     // kSequence.
  std::vector<YamlEntry> entries;  // kMap, in file order, keys distinct.

  // The entry of a map, or null.
  YamlNode* Find(absl::string_view key);
  // "a list", "a section", "null", or the scalar itself as a message may show it.
  std::string Describe() const;
};

struct YamlEntry {
  std::string key;
  std::string where;  // Of the key.
  YamlNode value;
};

// Parses one document; an empty one is an empty map. Errors: INVALID_ARGUMENT "source:line:column:
// what". With `fixed_where` every node's position is `source` itself (overrides have no lines).
absl::StatusOr<YamlNode> ParseYaml(absl::string_view text, const std::string& source,
                                   bool fixed_where = false);

}  // namespace retort::job
