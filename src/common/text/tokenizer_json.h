// Reading tokenizer.json: the bounds, and typed access to its fields with errors that name file and
// field.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace retort::text {

inline constexpr int64_t kMaxTokenizerFileBytes = 64 << 20;
inline constexpr int64_t kMaxVocabulary = 2'000'000;
inline constexpr int64_t kMaxMerges = 4'000'000;
inline constexpr int64_t kMaxAddedTokens = 100'000;
inline constexpr int64_t kMaxTokenId = (1 << 22) - 1;
inline constexpr size_t kMaxTokenBytes = 4096;
inline constexpr size_t kMaxSequenceParts = 64;

// One object of the file and where it stands ("tokenizer.json: model"). Cheap to copy; the file
// outlives it.
class JsonObject {
 public:
  static absl::StatusOr<JsonObject> Make(const nlohmann::json& value, std::string where);

  const std::string& where() const { return where_; }

  // nullptr when absent or null.
  const nlohmann::json* Find(absl::string_view key) const;

  // INVALID_ARGUMENT when absent or of another type.
  absl::StatusOr<std::string> String(absl::string_view key) const;  // <= kMaxTokenBytes
  absl::StatusOr<absl::string_view> Type() const;                   // The string "type".
  absl::StatusOr<int64_t> Integer(absl::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<JsonObject> Object(absl::string_view key) const;
  absl::StatusOr<std::vector<JsonObject>> Objects(absl::string_view key) const;
  // `fallback` when absent or null.
  absl::StatusOr<bool> Bool(absl::string_view key, bool fallback) const;

  // INVALID_ARGUMENT "<where>.<key> <what>".
  absl::Status Error(absl::string_view key, absl::string_view what) const;
  // UNIMPLEMENTED "<where>.<key> is <value>; this build reads <known>".
  absl::Status Unknown(absl::string_view key, absl::string_view value,
                       absl::string_view known) const;

 private:
  JsonObject(const nlohmann::json* value, std::string where)
      : value_(value), where_(std::move(where)) {}

  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace retort::text
