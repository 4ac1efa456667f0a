// Reading config.json key by key, for the families. Internal to layout/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/json.h"

namespace retort::layout {

inline constexpr int64_t kMaxWidth = 1 << 20;  // hidden, intermediate, heads x head_dim
inline constexpr int64_t kMaxPositions = 1 << 24;

// Another name under which Transformers takes a key.
struct KeyAlias {
  const char* key;
  const char* alias;
};

// One JSON object and where it is; every error names the file and the key. A key counts as known
// once it was asked for. A null value is a missing one, unless the family asks HasNull.
class ConfigKeys {
 public:
  ConfigKeys(const Json& object, std::string where)
      : object_(&object),
        where_(std::move(where)),
        known_(std::make_shared<std::set<std::string>>()) {}

  // The same object, where a key that is missing is looked for under its alias. `aliases` outlives
  // it. INVALID_ARGUMENT if a key and its alias are both there and differ.
  absl::StatusOr<ConfigKeys> WithAliases(absl::Span<const KeyAlias> aliases) const;

  // The value, or null if it is missing or null.
  const Json* Find(const std::string& key) const;
  bool HasNull(const std::string& key) const;

  absl::Status Wrong(const std::string& key, absl::string_view expected) const;
  // UNIMPLEMENTED: the value asks for mathematics that is not built.
  absl::Status NotBuilt(const std::string& key, absl::string_view expected) const;

  // Without a fallback the key is required.
  absl::StatusOr<int64_t> Int(const std::string& key, std::optional<int64_t> fallback, int64_t min,
                              int64_t max) const;
  // A number above 0, at most 1e12.
  absl::StatusOr<double> Positive(const std::string& key, std::optional<double> fallback) const;
  // The same, where null means `none` (and missing the fallback).
  absl::StatusOr<double> PositiveOrNull(const std::string& key, double fallback, double none) const;
  absl::StatusOr<bool> Bool(const std::string& key, bool fallback) const;
  absl::StatusOr<std::string> String(const std::string& key,
                                     std::optional<std::string> fallback) const;
  absl::StatusOr<std::optional<ConfigKeys>> Object(const std::string& key) const;

  // INVALID_ARGUMENT unless the key is missing or `expected`, which is what `other` says.
  absl::Status RequireNumber(const std::string& key, double expected,
                             absl::string_view other) const;
  // UNIMPLEMENTED unless the key is missing, null or false.
  absl::Status RefuseSet(const std::string& key) const;
  // UNIMPLEMENTED unless the key is missing or `expected`.
  absl::Status RequireBool(const std::string& key, bool expected) const;

  const std::string& where() const { return where_; }
  const Json& object() const { return *object_; }
  bool Known(const std::string& key) const { return known_->contains(key); }

 private:
  const Json* FindExact(const std::string& key) const;
  // What the file calls `key`.
  std::string NameOf(const std::string& key) const;
  std::string Shown(const std::string& key) const;

  const Json* object_;
  std::string where_;
  absl::Span<const KeyAlias> aliases_;
  std::shared_ptr<std::set<std::string>> known_;  // Shared by copies.
};

}  // namespace retort::layout
