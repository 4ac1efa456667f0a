#include "common/text/jinja/arguments.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"

namespace retort::text::jinja {

Bound::Bound(absl::string_view callee, const Arguments& arguments,
             std::initializer_list<absl::string_view> names, size_t required)
    : callee_(callee), names_(names), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    Fail(absl::StrCat(callee, " takes at most ", names_.size(), " arguments, not ",
                      arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    const auto it = std::find(names_.begin(), names_.end(), absl::string_view(name));
    if (it == names_.end()) {
      Fail(absl::StrCat(callee, " has no argument \"", Printable(name), "\""));
    }
    const Value*& slot = values_[static_cast<size_t>(it - names_.begin())];
    if (slot != nullptr) Fail(absl::StrCat(callee, ": argument \"", name, "\" is given twice"));
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) {
      Fail(absl::StrCat(callee, ": argument \"", names_[i], "\" is missing"));
    }
  }
}

void Bound::WrongType(size_t parameter, absl::string_view expected) const {
  RequireDefined(*values_[parameter]);
  Fail(absl::StrCat(callee_, ": argument \"", names_[parameter], "\" is of type ",
                    TypeName(*values_[parameter]), "; expected ", expected));
}

bool Bound::Flag(size_t parameter, bool fallback) const {
  return values_[parameter] == nullptr ? fallback : Truth(*values_[parameter]);
}

int64_t Bound::Int(size_t parameter, int64_t fallback) const {
  const Value* const value = values_[parameter];
  if (value == nullptr) return fallback;
  if (!value->IsIntegral()) WrongType(parameter, "an integer");
  return value->int_value();
}

absl::string_view Bound::Text(size_t parameter, absl::string_view fallback) const {
  const Value* const value = values_[parameter];
  if (value == nullptr) return fallback;
  if (!value->IsString()) WrongType(parameter, "a string");
  return value->text();
}

bool Bound::IsNone(size_t parameter) const {
  return values_[parameter] == nullptr || values_[parameter]->Is(Kind::kNone);
}

void NoArguments(absl::string_view callee, const Arguments& arguments) {
  if (arguments.positional.empty() && arguments.keyword.empty()) return;
  Fail(absl::StrCat(callee, " takes no arguments"));
}

}  // namespace retort::text::jinja
