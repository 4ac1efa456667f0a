#include "common/text/tokenizer_json.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::text {

absl::StatusOr<JsonObject> JsonObject::Make(const nlohmann::json& value, std::string where) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is ", value.type_name(), "; expected an object"));
  }
  return JsonObject(&value, std::move(where));
}

const nlohmann::json* JsonObject::Find(absl::string_view key) const {
  const auto it = value_->find(std::string(key));
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<std::string> JsonObject::String(absl::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_string()) return Error(key, "is not a string");
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > kMaxTokenBytes) {
    return Error(key, absl::StrCat("is ", text.size(), " bytes; at most ", kMaxTokenBytes));
  }
  return text;
}

absl::StatusOr<absl::string_view> JsonObject::Type() const {
  const nlohmann::json* type = Find("type");
  if (type == nullptr || !type->is_string()) return Error("type", "is not a string");
  return type->get_ref<const std::string&>();
}

absl::StatusOr<int64_t> JsonObject::Integer(absl::string_view key, int64_t min, int64_t max) const {
  const nlohmann::json* value = Find(key);
  const bool fits =
      value != nullptr && value->is_number_integer() &&
      (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(max));
  if (!fits || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    return Error(key, absl::StrCat("is not an integer in [", min, ", ", max, "]"));
  }
  return value->get<int64_t>();
}

absl::StatusOr<JsonObject> JsonObject::Object(absl::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  return Make(*value, absl::StrCat(where_, ".", Printable(key)));
}

absl::StatusOr<std::vector<JsonObject>> JsonObject::Objects(absl::string_view key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_array()) return Error(key, "is not a list");
  std::vector<JsonObject> objects;
  for (const nlohmann::json& item : *value) {
    RETORT_ASSIGN_OR_RETURN(JsonObject object,
                            Make(item, absl::StrCat(where_, ".", key, "[", objects.size(), "]")));
    objects.push_back(std::move(object));
  }
  return objects;
}

absl::StatusOr<bool> JsonObject::Bool(absl::string_view key, bool fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Error(key, "is not true or false");
  return value->get<bool>();
}

absl::Status JsonObject::Error(absl::string_view key, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, ".", Printable(key), " ", what));
}

absl::Status JsonObject::Unknown(absl::string_view key, absl::string_view value,
                                 absl::string_view known) const {
  return absl::UnimplementedError(
      absl::StrCat(where_, ".", key, " is ", Printable(value), "; this build reads ", known));
}

}  // namespace retort::text
