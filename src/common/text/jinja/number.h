// Numbers as Python reads, prints and rounds them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace retort::text::jinja {

// repr(float): the shortest digits that read back, "1.0", "1e-05", "1e+22", "inf", "nan".
std::string FloatRepr(double value);

// The nearest double; +-inf beyond the range. `text` is a number of JSON or of a literal.
double ParseDouble(absl::string_view text);

// An integer's digits without leading zeros, "-0" as "0".
std::string CanonicalInteger(absl::string_view digits);

// Python's int(text, base) and float(text): whitespace around, underscores between digits, a sign,
// the prefix of the base. nullopt for what Python refuses. Digits of ASCII only.
std::optional<std::string> PythonInt(absl::string_view text, int base);
std::optional<double> PythonFloat(absl::string_view text);

// -1, 0, 1: order of two integers given as canonical digits.
int CompareIntegers(absl::string_view a, absl::string_view b);

// round(value, digits): half to even, exact on the binary value. `digits` may be negative.
double RoundFloat(double value, int64_t digits);

}  // namespace retort::text::jinja
