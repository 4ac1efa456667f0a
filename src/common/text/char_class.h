// The classes of characters that split patterns ask for, as a table: the same answers as \p{..} and
// White_Space of a regex, in a few instructions. Categories: utf8proc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text {

// A character is in at most one of these, a line break in kSpace and kLineBreak.
enum CharClass : uint8_t {
  kUpper = 1 << 0,        // \p{Lu}, \p{Lt}
  kLower = 1 << 1,        // \p{Ll}
  kOtherLetter = 1 << 2,  // \p{Lm}, \p{Lo}
  kMark = 1 << 3,         // \p{M}
  kNumber = 1 << 4,       // \p{N}
  kSymbol = 1 << 5,       // \p{P}, \p{S}
  kSpace = 1 << 6,        // White_Space
  kLineBreak = 1 << 7,    // U+000A, U+000D
};
inline constexpr uint8_t kLetter = kUpper | kLower | kOtherLetter;

// One character of a valid UTF-8 text.
struct ClassedChar {
  uint8_t classes;
  uint8_t bytes;
};

// Immutable; one for the process, made on first use.
class CharClassTable {
 public:
  static const CharClassTable& Get();

  // The character at the front of [at, end), which is not empty.
  ClassedChar At(const char* at) const {
    const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(at[i])); };
    const uint32_t lead = byte(0);
    if (lead < 0x80) return {basic_[lead], 1};
    if (lead < 0xE0) return {basic_[(lead & 0x1F) << 6 | (byte(1) & 0x3F)], 2};
    if (lead < 0xF0) {
      return {basic_[(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F)], 3};
    }
    return {
        Of((lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F)),
        4};
  }

  static uint8_t Of(char32_t code_point);

 private:
  CharClassTable();

  std::vector<uint8_t> basic_;  // By code point, below U+10000.
};

}  // namespace retort::text
