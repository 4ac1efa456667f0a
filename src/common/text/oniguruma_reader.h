// The parts of Oniguruma's syntax that stand for one character or one property.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace retort::text {

// `c` in the words of PCRE2, in a class and outside.
std::string Literal(char32_t c);

// Reads a pattern, which is valid UTF-8 and outlives it, from front to back.
class OnigurumaReader {
 protected:
  explicit OnigurumaReader(absl::string_view source) : source_(source) {}

  absl::string_view Rest() const { return source_.substr(pos_); }
  bool At(absl::string_view text) const { return absl::StartsWith(Rest(), text); }
  bool Skip(absl::string_view text);

  // What is wrong with the pattern; what of it is not known here. Both name the byte.
  absl::Status Invalid(absl::string_view what) const;
  absl::Status Unknown(absl::string_view what) const;

  char32_t TakeCharacter();
  // \p{...} or \P{...}, in the words of PCRE2.
  absl::StatusOr<std::string> Property();
  // \n, \x{e9}, \. and so on: one character.
  absl::StatusOr<char32_t> EscapedCharacter(bool in_class);

  const absl::string_view source_;
  size_t pos_ = 0;

 private:
  std::string Where() const;
  absl::StatusOr<char32_t> HexCharacter(char letter);
};

}  // namespace retort::text
