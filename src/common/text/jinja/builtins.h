// Filters, tests, methods and global functions by name.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/text/jinja/arguments.h"

namespace retort::text::jinja {

// nullptr for a name that this interpreter does not have.
Builtin FindFilter(absl::string_view name);
Builtin FindTest(absl::string_view name);
Builtin FindFunction(absl::string_view name);

// What refusing that name says.
std::string UnknownFilter(absl::string_view name);
std::string UnknownTest(absl::string_view name);

// One file each.
absl::Span<const NamedBuiltin> TextFilters();
absl::Span<const NamedBuiltin> ListFilters();
absl::Span<const NamedBuiltin> OrderFilters();
absl::Span<const NamedBuiltin> NumberFilters();
absl::Span<const NamedBuiltin> Tests();
absl::Span<const NamedBuiltin> StringMethods();
absl::Span<const NamedBuiltin> SplitMethods();
absl::Span<const NamedBuiltin> SequenceMethods();  // Of lists, tuples and ranges.
absl::Span<const NamedBuiltin> DictMethods();
absl::Span<const NamedBuiltin> LoopMethods();
absl::Span<const NamedBuiltin> Functions();

// str.replace: at most `count` times; any number if negative.
Value ReplaceText(Runtime& runtime, absl::string_view text, absl::string_view from,
                  absl::string_view to, int64_t count);

// What taking the characters of `chars` off the ends of `text` may cost: each is looked for in it.
void ChargeStrip(Runtime& runtime, absl::string_view text, absl::string_view chars);

Builtin FindIn(absl::Span<const NamedBuiltin> table, absl::string_view name);

}  // namespace retort::text::jinja
