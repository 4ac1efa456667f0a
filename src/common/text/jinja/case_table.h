// The tables of Unicode that utf8proc lacks.
#pragma once

#include "absl/types/span.h"

namespace retort::text::jinja {

struct SpecialCase {
  char32_t code_point;
  const char* upper;  // UTF-8.
  const char* title;
};

struct CodePointRange {
  char32_t first;
  char32_t last;
};

absl::Span<const SpecialCase> SpecialCases();          // Ascending.
absl::Span<const CodePointRange> OtherDigits();        // str.isdigit() but not str.isdecimal().
absl::Span<const CodePointRange> NumeralIdeographs();  // str.isnumeric() in spite of category Lo.

}  // namespace retort::text::jinja
