// Strings as Python treats them: whitespace, case, lines, repr.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text::jinja {

// str.isspace() of one character: Unicode's White_Space and U+001C to U+001F.
bool IsPythonSpace(char32_t c);

absl::string_view StripLeft(absl::string_view text);
absl::string_view StripRight(absl::string_view text);
// Characters that occur in `chars` off the ends.
absl::string_view StripLeft(absl::string_view text, absl::string_view chars);
absl::string_view StripRight(absl::string_view text, absl::string_view chars);

// str.upper() and so on, with the full mappings: "ß" becomes "SS", a final sigma "ς".
std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
std::string Title(absl::string_view text);
std::string Capitalize(absl::string_view text);
std::string SwapCase(absl::string_view text);

// str.isupper() and so on. Of an empty string: false, except isascii.
bool IsUpper(absl::string_view text);
bool IsLower(absl::string_view text);
bool IsTitle(absl::string_view text);
bool IsAlpha(absl::string_view text);
bool IsDecimal(absl::string_view text);
bool IsDigit(absl::string_view text);
bool IsNumeric(absl::string_view text);
bool IsAlnum(absl::string_view text);
bool IsSpace(absl::string_view text);
bool IsAscii(absl::string_view text);

// What \w matches.
bool IsWordCharacter(char32_t c);

// str.splitlines(keepends).
std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends);

// repr(str), such as 'it\n' or "it's".
std::string QuotePython(absl::string_view text);

// Where `needle` begins in `text`, in linear time; npos if it does not occur.
size_t FindText(absl::string_view text, absl::string_view needle);
size_t FindLastText(absl::string_view text, absl::string_view needle);

// The byte where code point `index` begins; text.size() if there are fewer.
size_t ByteOfCodePoint(absl::string_view text, int64_t index);

}  // namespace retort::text::jinja
