// Python's operators on numbers, strings and lists.
#pragma once

#include "absl/strings/string_view.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// `op` is one of + - * / // % **. Throws for types that Python does not combine, a division by
// zero, and integers whose result is beyond 64 bits.
Value Arithmetic(Runtime& runtime, absl::string_view op, const Value& a, const Value& b);

Value Negative(Runtime& runtime, const Value& value);
Value Positive(const Value& value);

// `text` with & < > ' " as HTML entities, as markup; markup as it is.
Value EscapeMarkup(Runtime& runtime, const Value& value);

}  // namespace retort::text::jinja
