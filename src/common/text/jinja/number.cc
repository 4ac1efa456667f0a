#include "common/text/jinja/number.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (absl::ascii_isalpha(c)) return absl::ascii_tolower(c) - 'a' + 10;
  return 99;
}

// `text` without the underscores that stand between two digits; nullopt if one stands elsewhere.
std::optional<std::string> WithoutUnderscores(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !absl::ascii_isalnum(text[i - 1]) ||
               !absl::ascii_isalnum(text[i + 1])) {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const absl::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const size_t e = shortest.find('e');
  std::string digits;
  for (const char c : shortest.substr(0, e)) {
    if (absl::ascii_isdigit(c)) digits += c;
  }
  int exponent = 0;
  absl::string_view power = shortest.substr(e + 1);
  if (power[0] == '+') power.remove_prefix(1);
  (void)absl::SimpleAtoi(power, &exponent);
  const std::string sign = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = digits.size() > 1 ? "." + digits.substr(1) : "";
    return absl::StrCat(sign, digits.substr(0, 1), fraction, "e", exponent < 0 ? "-" : "+",
                        absl::Dec(std::abs(exponent), absl::kZeroPad2));
  }
  if (exponent < 0) {
    return absl::StrCat(sign, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    return absl::StrCat(sign, digits, std::string(whole - digits.size(), '0'), ".0");
  }
  return absl::StrCat(sign, digits.substr(0, whole), ".", digits.substr(whole));
}

double ParseDouble(absl::string_view text) {
  if (absl::StartsWith(text, "+")) text.remove_prefix(1);
  double value = 0;
  const auto result = absl::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec == std::errc::result_out_of_range && std::fabs(value) > 1) {
    return std::copysign(std::numeric_limits<double>::infinity(), value);
  }
  return value;
}

std::string CanonicalInteger(absl::string_view digits) {
  const bool negative = absl::StartsWith(digits, "-");
  if (negative || absl::StartsWith(digits, "+")) digits.remove_prefix(1);
  while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
  return absl::StrCat(negative && digits != "0" ? "-" : "", digits);
}

std::optional<std::string> PythonInt(absl::string_view text, int base) {
  const auto plain = WithoutUnderscores(StripLeft(StripRight(text)));
  if (!plain.has_value()) return std::nullopt;
  absl::string_view rest = *plain;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest.size() > 1 && rest[0] == '0' && (base == 16 || base == 8 || base == 2 || base == 0)) {
    const char letter = absl::ascii_tolower(rest[1]);
    const int named = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (named != 0 && (base == 0 || base == named)) {
      base = named;
      rest.remove_prefix(2);
    }
  }
  if (base == 0) base = 10;
  if (rest.empty()) return std::nullopt;
  for (const char c : rest) {
    if (DigitOf(c) >= base) return std::nullopt;
  }
  if (base == 10) return CanonicalInteger(absl::StrCat(negative ? "-" : "", rest));
  int64_t value = 0;
  for (const char c : rest) {
    if (value > (INT64_MAX - DigitOf(c)) / base) Refuse("int() of a number beyond 64 bits");
    value = value * base + DigitOf(c);
  }
  return absl::StrCat(negative ? -value : value);
}

std::optional<double> PythonFloat(absl::string_view text) {
  const auto plain = WithoutUnderscores(StripLeft(StripRight(text)));
  if (!plain.has_value() || plain->empty()) return std::nullopt;
  absl::string_view number = *plain;
  const absl::string_view first = number.substr(0, 1);
  if (first == "+" || first == "-") number.remove_prefix(1);
  const std::string word = absl::AsciiStrToLower(number);
  double value = 0;
  if (word == "inf" || word == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (word == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    const bool plausible = !number.empty() &&
                           number.find_first_not_of("0123456789.eE+-") == number.npos &&
                           number[0] != '+' && number[0] != '-';
    const auto result = plausible
                            ? absl::from_chars(number.data(), number.data() + number.size(), value)
                            : absl::from_chars_result{number.data(), std::errc::invalid_argument};
    if (result.ec == std::errc::invalid_argument || result.ptr != number.data() + number.size()) {
      return std::nullopt;
    }
    value = ParseDouble(number);
  }
  return first == "-" ? -value : value;
}

int CompareIntegers(absl::string_view a, absl::string_view b) {
  const bool a_negative = absl::StartsWith(a, "-"), b_negative = absl::StartsWith(b, "-");
  if (a_negative != b_negative) return a_negative ? -1 : 1;
  int order = a.size() != b.size() ? (a.size() < b.size() ? -1 : 1) : a.compare(b);
  order = order < 0 ? -1 : order > 0 ? 1 : 0;
  return a_negative ? -order : order;
}

double RoundFloat(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 330) return value;
  if (digits < -330) return std::copysign(0.0, value);
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / unit) * unit;
  }
  // printf rounds the binary value exactly, ties to even.
  return ParseDouble(absl::StrFormat("%.*f", static_cast<int>(digits), value));
}

}  // namespace retort::text::jinja
