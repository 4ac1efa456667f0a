#include "common/text/jinja/literal.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/text/jinja/failure.h"

namespace retort::text::jinja {
namespace {

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// Digits of `base` with single underscores between them; bytes read.
size_t ScanDigits(absl::string_view text, int base, std::string* digits) {
  size_t at = 0;
  while (at < text.size()) {
    if (DigitOf(text[at]) < base) {
      *digits += text[at++];
    } else if (text[at] == '_' && at > 0 && at + 1 < text.size() && DigitOf(text[at + 1]) < base) {
      ++at;
    } else {
      break;
    }
  }
  return at;
}

int BaseOf(absl::string_view source) {
  if (source.size() < 3 || source[0] != '0') return 10;
  const char c = absl::ascii_tolower(source[1]);
  const int base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
  const size_t first = source[2] == '_' ? 3 : 2;
  if (base != 10 && (first >= source.size() || DigitOf(source[first]) >= base)) return 10;
  return base;
}

NumberLiteral ScanPrefixed(absl::string_view source, int base) {
  std::string digits;
  const size_t skip = source[2] == '_' ? 3 : 2;
  const size_t bytes = skip + ScanDigits(source.substr(skip), base, &digits);
  int64_t value = 0;
  for (const char c : digits) {
    if (value > (INT64_MAX - DigitOf(c)) / base) Refuse("an integer literal beyond 64 bits");
    value = value * base + DigitOf(c);
  }
  return {bytes, false, absl::StrCat(value)};
}

}  // namespace

NumberLiteral ScanNumber(absl::string_view source, bool allow_float) {
  const int base = BaseOf(source);
  if (base != 10) return ScanPrefixed(source, base);
  NumberLiteral number{0, false, ""};
  number.bytes = ScanDigits(source, 10, &number.digits);
  if (!allow_float) return number;
  const auto at = [&](size_t i) { return i < source.size() ? source[i] : '\0'; };
  size_t end = number.bytes;
  if (at(end) == '.' && absl::ascii_isdigit(at(end + 1))) {
    number.digits += '.';
    end += 1 + ScanDigits(source.substr(end + 1), 10, &number.digits);
    number.is_float = true;
  }
  if (absl::ascii_tolower(at(end)) == 'e') {
    const size_t sign = at(end + 1) == '-' || at(end + 1) == '+' ? 1 : 0;
    if (absl::ascii_isdigit(at(end + 1 + sign))) {
      number.digits += 'e';
      if (sign != 0) number.digits += at(end + 1);
      end += 1 + sign + ScanDigits(source.substr(end + 1 + sign), 10, &number.digits);
      number.is_float = true;
    }
  }
  number.bytes = end;
  return number;
}

namespace {

// \xhh, \uhhhh, \Uhhhhhhhh at text[at], the letter; appends it and returns the bytes read.
size_t UnescapeHex(absl::string_view text, size_t at, size_t width, int line, std::string* out) {
  uint32_t code = 0;
  for (size_t i = 1; i <= width; ++i) {
    const int digit = at + i < text.size() ? DigitOf(text[at + i]) : 99;
    if (digit > 15) {
      Fail(absl::StrCat("\"\\", text.substr(at, 1), "\" in a string literal needs ", width,
                        " hexadecimal digits"),
           line);
    }
    code = code << 4 | static_cast<uint32_t>(digit);
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    Fail(absl::StrCat("\"\\", Printable(text.substr(at, 1 + width)),
                      "\" in a string literal is no character"),
         line);
  }
  AppendUtf8(code, out);
  return 1 + width;
}

// Up to three octal digits.
size_t UnescapeOctal(absl::string_view text, size_t at, std::string* out) {
  uint32_t code = 0;
  size_t i = at;
  while (i < text.size() && i < at + 3 && DigitOf(text[i]) < 8) {
    code = code * 8 + static_cast<uint32_t>(DigitOf(text[i++]));
  }
  AppendUtf8(code, out);
  return i - at;
}

}  // namespace

std::string Unescape(absl::string_view literal, int line) {
  static constexpr absl::string_view kLetters = "abfnrtv\\'\"";
  static constexpr absl::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
  std::string out;
  for (size_t i = 0; i < literal.size();) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i++];
      continue;
    }
    const char c = literal[++i];
    const size_t simple = kLetters.find(c);
    if (simple != kLetters.npos) {
      out += kMeanings[simple];
      ++i;
    } else if (c == '\n') {
      ++i;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      i += UnescapeHex(literal, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, line, &out);
    } else if (DigitOf(c) < 8) {
      i += UnescapeOctal(literal, i, &out);
    } else if (c == 'N') {
      Refuse("\"\\N\" in a string literal is not supported; write the character", line);
    } else {
      out += '\\';  // Python keeps both characters of an escape that it does not know.
    }
  }
  return out;
}

}  // namespace retort::text::jinja
