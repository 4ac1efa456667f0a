#include "common/text/oniguruma_reader.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/text/oniguruma_sets.h"

namespace retort::text {

std::string Literal(char32_t c) { return absl::StrFormat("\\x{%x}", static_cast<uint32_t>(c)); }

bool OnigurumaReader::Skip(absl::string_view text) {
  if (!At(text)) return false;
  pos_ += text.size();
  return true;
}

std::string OnigurumaReader::Where() const {
  return absl::StrCat("pattern \"", Printable(source_, 200), "\" at byte ", pos_);
}
absl::Status OnigurumaReader::Invalid(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(Where(), " ", what));
}
absl::Status OnigurumaReader::Unknown(absl::string_view what) const {
  return absl::UnimplementedError(
      absl::StrCat(Where(), ": \"", Printable(what), "\" is not supported"));
}

char32_t OnigurumaReader::TakeCharacter() {
  const char32_t c = CodePoint(Rest());
  pos_ += CharacterBytes(source_[pos_]);
  return c;
}

absl::StatusOr<std::string> OnigurumaReader::Property() {
  const size_t close = source_.find('}', pos_);
  if (source_.substr(pos_ + 2, 1) != "{" || close == source_.npos) {
    return Unknown(source_.substr(pos_, 3));
  }
  absl::string_view name = source_.substr(pos_ + 3, close - pos_ - 3);
  bool negated = source_[pos_ + 1] == 'P';
  if (absl::ConsumePrefix(&name, "^")) negated = !negated;
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == ' ' || c == '-';
  });
  if (!plain) return Unknown(source_.substr(pos_, close + 1 - pos_));
  pos_ = close + 1;
  return absl::StrCat(negated ? "\\P{" : "\\p{", PropertyOf(name), "}");
}

absl::StatusOr<char32_t> OnigurumaReader::EscapedCharacter(bool in_class) {
  static constexpr absl::string_view kLetters = "tnrfvae", kControls = "\t\n\r\f\v\a\x1b";
  const char letter = source_[pos_ + 1];
  const size_t control = kLetters.find(letter);
  if (control != kLetters.npos || (in_class && letter == 'b')) {
    pos_ += 2;
    return static_cast<char32_t>(letter == 'b' ? '\b' : kControls[control]);
  }
  if (letter == 'x' || letter == 'u') return HexCharacter(letter);
  if (absl::ascii_isalnum(static_cast<unsigned char>(letter))) {
    return Unknown(source_.substr(pos_, 2));
  }
  ++pos_;
  return TakeCharacter();
}

absl::StatusOr<char32_t> OnigurumaReader::HexCharacter(char letter) {
  const absl::string_view whole = Rest();
  const bool braces = letter == 'x' && absl::StartsWith(whole.substr(2), "{");
  const size_t begin = braces ? 3 : 2;
  const size_t most = braces ? 8 : letter == 'x' ? 2 : 4;
  size_t end = begin;
  while (end < whole.size() && end - begin < most &&
         absl::ascii_isxdigit(static_cast<unsigned char>(whole[end]))) {
    ++end;
  }
  uint32_t value = 0;
  const bool read = absl::SimpleHexAtoi(whole.substr(begin, end - begin), &value);
  const bool closed = !braces || absl::StartsWith(whole.substr(end), "}");
  const bool character = value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF);
  // Two digits from 80 on are a byte, not a character.
  const bool byte = letter == 'x' && !braces && value >= 0x80;
  if (!read || !closed || !character || byte || (letter == 'u' && end != 6)) {
    return Unknown(whole.substr(0, end));
  }
  pos_ += end + (braces ? 1 : 0);
  return static_cast<char32_t>(value);
}

}  // namespace retort::text
