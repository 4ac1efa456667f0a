// Number and string literals of a template's source.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace retort::text::jinja {

struct NumberLiteral {
  size_t bytes;  // Of the source.
  bool is_float;
  std::string digits;  // Decimal, without underscores; an integer of any size.
};

// The number at the front of `source`, which begins with a digit: 1_000, 0x1F, 0b1, 0o7, 1.5e-3.
// Throws for a hexadecimal, octal or binary one beyond 64 bits.
NumberLiteral ScanNumber(absl::string_view source, bool allow_float);

// The text of a string literal, quotes off, with Python's escapes. Throws Failure at `line` for
// \N{...} and for what is not a character.
std::string Unescape(absl::string_view literal, int line);

}  // namespace retort::text::jinja
