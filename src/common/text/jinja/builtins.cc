#include "common/text/jinja/builtins.h"

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"

namespace retort::text::jinja {

Builtin FindIn(absl::Span<const NamedBuiltin> table, absl::string_view name) {
  for (const NamedBuiltin& builtin : table) {
    if (builtin.name == name) return builtin.call;
  }
  return nullptr;
}

Builtin FindFilter(absl::string_view name) {
  for (const auto& table : {TextFilters(), ListFilters(), OrderFilters(), NumberFilters()}) {
    if (const Builtin found = FindIn(table, name)) return found;
  }
  return nullptr;
}

Builtin FindTest(absl::string_view name) { return FindIn(Tests(), name); }
Builtin FindFunction(absl::string_view name) { return FindIn(Functions(), name); }

std::string UnknownFilter(absl::string_view name) {
  return absl::StrCat("filter \"", Printable(name), "\" is not supported");
}

std::string UnknownTest(absl::string_view name) {
  return absl::StrCat("test \"", Printable(name), "\" is not supported");
}

}  // namespace retort::text::jinja
