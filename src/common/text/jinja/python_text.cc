#include "common/text/jinja/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "common/base/utf8.h"
#include "common/text/jinja/case_table.h"

namespace retort::text::jinja {
namespace {

utf8proc_category_t CategoryOf(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool IsUpperCategory(char32_t c) {
  // Other_Uppercase: Roman numerals and circled letters.
  return CategoryOf(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F) ||
         (c >= 0x24B6 && c <= 0x24CF) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

bool IsLowerCategory(char32_t c) {
  return CategoryOf(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA ||
         (c >= 0x2B0 && c <= 0x2B8) || (c >= 0x2C0 && c <= 0x2C1) || (c >= 0x2E0 && c <= 0x2E4) ||
         c == 0x345 || c == 0x37A || (c >= 0x1D2C && c <= 0x1D6A) || c == 0x1D78 ||
         (c >= 0x1D9B && c <= 0x1DBF) || c == 0x2071 || c == 0x207F ||
         (c >= 0x2090 && c <= 0x209C) || (c >= 0x2170 && c <= 0x217F) ||
         (c >= 0x24D0 && c <= 0x24E9) || (c >= 0x2C7C && c <= 0x2C7D);
}

bool IsTitleCategory(char32_t c) { return CategoryOf(c) == UTF8PROC_CATEGORY_LT; }

bool IsCased(char32_t c) { return IsUpperCategory(c) || IsLowerCategory(c) || IsTitleCategory(c); }

// What stands between a letter and a sigma without making the sigma final or not.
bool IsCaseIgnorable(char32_t c) {
  switch (CategoryOf(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == 0x27 || c == 0x2E || c == 0x3A || c == 0xB7 || c == 0x387 || c == 0x55F ||
             c == 0x5F4 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027 ||
             c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E || c == 0xFF1A;
  }
}

std::vector<char32_t> CodePoints(absl::string_view text) {
  std::vector<char32_t> points;
  points.reserve(text.size());
  while (!text.empty()) {
    points.push_back(CodePoint(text));
    text.remove_prefix(CharacterBytes(text[0]));
  }
  return points;
}

const SpecialCase* FindSpecial(char32_t c) {
  if (c < 0xDF) return nullptr;
  const auto table = SpecialCases();
  const auto it =
      std::lower_bound(table.begin(), table.end(), c,
                       [](const SpecialCase& row, char32_t key) { return row.code_point < key; });
  return it != table.end() && it->code_point == c ? &*it : nullptr;
}

void AppendUpper(char32_t c, std::string* out) {
  const SpecialCase* const special = FindSpecial(c);
  if (special != nullptr) {
    *out += special->upper;
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}

void AppendTitle(char32_t c, std::string* out) {
  const SpecialCase* const special = FindSpecial(c);
  if (special != nullptr) {
    *out += special->title;
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
  }
}

bool IsFinalSigma(const std::vector<char32_t>& points, size_t at) {
  size_t before = at;
  while (before > 0 && IsCaseIgnorable(points[before - 1])) --before;
  if (before == 0 || !IsCased(points[before - 1])) return false;
  size_t after = at + 1;
  while (after < points.size() && IsCaseIgnorable(points[after])) ++after;
  return after == points.size() || !IsCased(points[after]);
}

void AppendLower(const std::vector<char32_t>& points, size_t at, std::string* out) {
  const char32_t c = points[at];
  if (c == 0x130) {
    *out += "i\u0307";
  } else if (c == 0x3A3) {
    *out += IsFinalSigma(points, at) ? "ς" : "σ";
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
  }
}

template <typename Predicate>
bool AllOf(absl::string_view text, Predicate predicate) {
  const std::vector<char32_t> points = CodePoints(text);
  return !points.empty() && std::all_of(points.begin(), points.end(), predicate);
}

bool InRanges(absl::Span<const CodePointRange> ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(), [c](const CodePointRange& range) {
    return c >= range.first && c <= range.last;
  });
}

bool IsAlphaPoint(char32_t c) {
  const utf8proc_category_t category = CategoryOf(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsNumericPoint(char32_t c) {
  const utf8proc_category_t category = CategoryOf(c);
  return (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) ||
         InRanges(NumeralIdeographs(), c);
}

bool IsPrintable(char32_t c) {
  switch (CategoryOf(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

// The character in front of the end of `text`, which is not empty.
absl::string_view LastCharacter(absl::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
  return text.substr(at);
}

}  // namespace

bool IsPythonSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

absl::string_view StripLeft(absl::string_view text) {
  while (!text.empty() && IsPythonSpace(CodePoint(text))) {
    text.remove_prefix(CharacterBytes(text[0]));
  }
  return text;
}

absl::string_view StripRight(absl::string_view text) {
  while (!text.empty()) {
    const absl::string_view last = LastCharacter(text);
    if (!IsPythonSpace(CodePoint(last))) break;
    text.remove_suffix(last.size());
  }
  return text;
}

absl::string_view StripLeft(absl::string_view text, absl::string_view chars) {
  while (!text.empty()) {
    const absl::string_view first = text.substr(0, CharacterBytes(text[0]));
    if (chars.find(first) == chars.npos) break;
    text.remove_prefix(first.size());
  }
  return text;
}

absl::string_view StripRight(absl::string_view text, absl::string_view chars) {
  while (!text.empty()) {
    const absl::string_view last = LastCharacter(text);
    if (chars.find(last) == chars.npos) break;
    text.remove_suffix(last.size());
  }
  return text;
}

std::string Upper(absl::string_view text) {
  std::string out;
  for (const char32_t c : CodePoints(text)) AppendUpper(c, &out);
  return out;
}

std::string Lower(absl::string_view text) {
  std::string out;
  const std::vector<char32_t> points = CodePoints(text);
  for (size_t i = 0; i < points.size(); ++i) AppendLower(points, i, &out);
  return out;
}

std::string Title(absl::string_view text) {
  std::string out;
  const std::vector<char32_t> points = CodePoints(text);
  bool in_word = false;
  for (size_t i = 0; i < points.size(); ++i) {
    if (in_word) {
      AppendLower(points, i, &out);
    } else {
      AppendTitle(points[i], &out);
    }
    in_word = IsCased(points[i]);
  }
  return out;
}

std::string Capitalize(absl::string_view text) {
  std::string out;
  const std::vector<char32_t> points = CodePoints(text);
  for (size_t i = 0; i < points.size(); ++i) {
    if (i == 0) {
      AppendTitle(points[0], &out);
    } else {
      AppendLower(points, i, &out);
    }
  }
  return out;
}

std::string SwapCase(absl::string_view text) {
  std::string out;
  const std::vector<char32_t> points = CodePoints(text);
  for (size_t i = 0; i < points.size(); ++i) {
    if (IsUpperCategory(points[i])) {
      AppendLower(points, i, &out);
    } else if (IsLowerCategory(points[i])) {
      AppendUpper(points[i], &out);
    } else {
      AppendUtf8(points[i], &out);
    }
  }
  return out;
}

bool IsUpper(absl::string_view text) {
  bool cased = false;
  for (const char32_t c : CodePoints(text)) {
    if (IsLowerCategory(c) || IsTitleCategory(c)) return false;
    cased = cased || IsUpperCategory(c);
  }
  return cased;
}

bool IsLower(absl::string_view text) {
  bool cased = false;
  for (const char32_t c : CodePoints(text)) {
    if (IsUpperCategory(c) || IsTitleCategory(c)) return false;
    cased = cased || IsLowerCategory(c);
  }
  return cased;
}

bool IsTitle(absl::string_view text) {
  bool cased = false, in_word = false;
  for (const char32_t c : CodePoints(text)) {
    const bool upper = IsUpperCategory(c) || IsTitleCategory(c);
    if (upper ? in_word : IsLowerCategory(c) && !in_word) return false;
    in_word = upper || IsLowerCategory(c);
    cased = cased || in_word;
  }
  return cased;
}

bool IsAlpha(absl::string_view text) { return AllOf(text, IsAlphaPoint); }

bool IsDecimal(absl::string_view text) {
  return AllOf(text, [](char32_t c) { return CategoryOf(c) == UTF8PROC_CATEGORY_ND; });
}

bool IsDigit(absl::string_view text) {
  return AllOf(text, [](char32_t c) {
    return CategoryOf(c) == UTF8PROC_CATEGORY_ND || InRanges(OtherDigits(), c);
  });
}

bool IsNumeric(absl::string_view text) { return AllOf(text, IsNumericPoint); }

bool IsAlnum(absl::string_view text) {
  return AllOf(text, [](char32_t c) { return IsAlphaPoint(c) || IsNumericPoint(c); });
}

bool IsSpace(absl::string_view text) { return AllOf(text, IsPythonSpace); }

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

bool IsWordCharacter(char32_t c) { return c == '_' || IsAlphaPoint(c) || IsNumericPoint(c); }

std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends) {
  std::vector<absl::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = CodePoint(text.substr(at));
    size_t next = at + CharacterBytes(text[at]);
    if (IsLineEnd(c)) {
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.push_back(text.substr(begin, (keep_ends ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string QuotePython(absl::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char32_t c : CodePoints(text)) {
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(c)) {
      AppendUtf8(c, &out);
    } else if (c < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<uint32_t>(c));
    } else {
      absl::StrAppendFormat(&out, "\\U%08x", static_cast<uint32_t>(c));
    }
  }
  return out + quote;
}

size_t FindText(absl::string_view text, absl::string_view needle) {
  if (needle.empty()) return 0;
  const void* const at = memmem(text.data(), text.size(), needle.data(), needle.size());
  return at == nullptr ? text.npos
                       : static_cast<size_t>(static_cast<const char*>(at) - text.data());
}

size_t FindLastText(absl::string_view text, absl::string_view needle) {
  constexpr size_t kShort = 32;  // Comparing at every place is linear enough.
  if (needle.size() <= kShort) return text.rfind(needle);
  const std::string backward_text(text.rbegin(), text.rend());
  const std::string backward_needle(needle.rbegin(), needle.rend());
  const size_t at = FindText(backward_text, backward_needle);
  return at == text.npos ? at : text.size() - at - needle.size();
}

size_t ByteOfCodePoint(absl::string_view text, int64_t index) {
  size_t at = 0;
  while (index > 0 && at < text.size()) {
    at += CharacterBytes(text[at]);
    --index;
  }
  return at;
}

}  // namespace retort::text::jinja
