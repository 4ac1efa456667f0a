#include "common/layout/config_keys.h"

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr size_t kMaxShownBytes = 80;

std::string ShortText(const Json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (text.size() <= kMaxShownBytes) return text;
  text.resize(kMaxShownBytes - 3);
  return absl::StrCat(text, "...");
}

bool IsPositive(const Json& value) {
  return value.is_number() && value.get<double>() > 0 && value.get<double>() <= 1e12;
}

}  // namespace

absl::StatusOr<ConfigKeys> ConfigKeys::WithAliases(absl::Span<const KeyAlias> aliases) const {
  ConfigKeys keys = *this;
  keys.aliases_ = aliases;
  for (const auto& [key, alias] : aliases) {
    const Json *own = FindExact(key), *other = FindExact(alias);
    if (own == nullptr || other == nullptr || *own == *other) continue;
    return Wrong(alias, absl::StrCat("what ", key, " says, ", ShortText(*own),
                                     ": both name one size; remove the wrong one"));
  }
  return keys;
}

const Json* ConfigKeys::FindExact(const std::string& key) const {
  known_->insert(key);
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

const Json* ConfigKeys::Find(const std::string& key) const { return FindExact(NameOf(key)); }

std::string ConfigKeys::NameOf(const std::string& key) const {
  if (FindExact(key) != nullptr) return key;
  for (const auto& [own, alias] : aliases_) {
    if (key == own && FindExact(alias) != nullptr) return alias;
  }
  return key;
}

std::string ConfigKeys::Shown(const std::string& key) const {
  const Json* value = Find(key);
  if (value != nullptr) return ShortText(*value);
  return HasNull(key) ? "null" : "missing";
}

bool ConfigKeys::HasNull(const std::string& key) const {
  const auto it = object_->find(key);
  return it != object_->end() && it->is_null();
}

absl::Status ConfigKeys::Wrong(const std::string& key, absl::string_view expected) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, ": ", Printable(NameOf(key)), " is ",
                                                 Shown(key), "; expected ", expected));
}

absl::Status ConfigKeys::NotBuilt(const std::string& key, absl::string_view expected) const {
  return absl::UnimplementedError(absl::StrCat(where_, ": ", Printable(NameOf(key)), " ",
                                               Shown(key), " is not built; expected ", expected));
}

absl::StatusOr<int64_t> ConfigKeys::Int(const std::string& key, std::optional<int64_t> fallback,
                                        int64_t min, int64_t max) const {
  const Json* value = Find(key);
  if (value == nullptr && fallback.has_value()) return *fallback;
  if (value == nullptr || !value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX}) ||
      value->get<int64_t>() < min || value->get<int64_t>() > max) {
    return Wrong(key, absl::StrCat("an integer in [", min, ", ", max, "]"));
  }
  return value->get<int64_t>();
}

absl::StatusOr<double> ConfigKeys::Positive(const std::string& key,
                                            std::optional<double> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr && fallback.has_value()) return *fallback;
  if (value == nullptr || !IsPositive(*value)) return Wrong(key, "a number above 0, at most 1e12");
  return value->get<double>();
}

absl::StatusOr<double> ConfigKeys::PositiveOrNull(const std::string& key, double fallback,
                                                  double none) const {
  const Json* value = Find(key);
  if (HasNull(key)) return none;
  if (value == nullptr) return fallback;
  if (!IsPositive(*value)) return Wrong(key, "null or a number above 0, at most 1e12");
  return value->get<double>();
}

absl::StatusOr<bool> ConfigKeys::Bool(const std::string& key, bool fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> ConfigKeys::String(const std::string& key,
                                               std::optional<std::string> fallback) const {
  const Json* value = Find(key);
  if (value == nullptr && fallback.has_value()) return *fallback;
  if (value == nullptr || !value->is_string()) return Wrong(key, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::optional<ConfigKeys>> ConfigKeys::Object(const std::string& key) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::optional<ConfigKeys>();
  if (!value->is_object()) return Wrong(key, "an object");
  return std::optional<ConfigKeys>(ConfigKeys(*value, absl::StrCat(where_, ": ", key)));
}

absl::Status ConfigKeys::RequireNumber(const std::string& key, double expected,
                                       absl::string_view other) const {
  const Json* value = Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (value->is_number() && value->get<double>() == expected) return absl::OkStatus();
  return Wrong(key, absl::StrCat(expected, ", as ", other, " says"));
}

absl::Status ConfigKeys::RefuseSet(const std::string& key) const {
  const Json* value = Find(key);
  if (value == nullptr || (value->is_boolean() && !value->get<bool>())) return absl::OkStatus();
  return NotBuilt(key, "null or no such key");
}

absl::Status ConfigKeys::RequireBool(const std::string& key, bool expected) const {
  RETORT_ASSIGN_OR_RETURN(const bool value, Bool(key, expected));
  return value == expected ? absl::OkStatus() : NotBuilt(key, expected ? "true" : "false");
}

}  // namespace retort::layout
