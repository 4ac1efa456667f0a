// The one edge where JSON text from outside becomes nlohmann::json: bounded depth, no duplicate
// keys, valid UTF-8, no exceptions out. Who looks into a value includes nlohmann/json.hpp.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace retort {

// Keeps key order (chat templates and round trips depend on it).
using Json = nlohmann::ordered_json;

// INVALID_ARGUMENT: "<source>: <what> at byte N". `source` is a file name or file:line.
absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view source,
                               int max_depth = 64);

// The same with keys in sorted order, for objects of many keys such as a vocabulary (Json finds a
// key in linear time).
absl::StatusOr<nlohmann::json> ParseSortedJson(absl::string_view text, absl::string_view source,
                                               int max_depth = 64);

// The JSON text of a value: compact, or with `indent` spaces a level. Bytes that are no UTF-8
// become U+FFFD. (The member function dump costs every source that calls it two seconds of compile
// time.)
std::string DumpJson(const Json& value, int indent = -1);
std::string DumpJson(const nlohmann::json& value, int indent = -1);

}  // namespace retort
