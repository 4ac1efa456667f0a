#include "common/base/printable.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace retort {

std::string Printable(absl::string_view text, size_t max_bytes) {
  std::string shown;
  for (size_t at = 0; at < text.size();) {
    const bool whole = StartsWithCharacter(text.substr(at));
    const size_t bytes = whole ? CharacterBytes(text[at]) : 1;
    if (at + bytes > max_bytes) return shown += "…";
    const absl::string_view character = text.substr(at, bytes);
    const char32_t code_point = whole ? CodePoint(character) : 0;
    const bool control = code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
    absl::StrAppend(&shown, control ? absl::CHexEscape(character) : std::string(character));
    at += bytes;
  }
  return shown;
}

}  // namespace retort
