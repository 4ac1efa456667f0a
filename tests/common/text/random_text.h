// Random texts for property tests of this room.
#pragma once

#include <string>

#include "common/base/rng.h"
#include "common/base/utf8.h"

namespace retort::text {

// Any code point that is not a surrogate, assigned or not.
inline char32_t RandomCodePoint(CounterRng& rng) {
  const char32_t c = static_cast<char32_t>(rng.NextBelow(0x110000 - 0x800));
  return c < 0xD800 ? c : c + 0x800;
}

// Up to `most` characters: runs of letters, digits, spaces, punctuation, line breaks, marks, CJK,
// and everything else that Unicode has, so that every rule of a tokenizer meets its edges.
inline std::string RandomText(CounterRng& rng, uint64_t most) {
  static constexpr char32_t kInteresting[] = {
      ' ',    ' ',    ' ',     ' ',    '\t',   '\n',    '\r',    '\'',    '\'',     's',    't',
      'r',    'e',    'v',     'm',    'l',    'd',     'S',     'T',     'L',      'D',    0x17F,
      '/',    '.',    ',',     '"',    '<',    '>',     '|',     '_',     '1',      '2',    0x660,
      0x00B2, 0x2160, 0xE4,    0xC4,   0x1C5,  0x2B0,   0x5D0,   0x301,   0x308,    0x327,  0x903,
      0x20DD, 0xA0,   0x85,    0x1680, 0x180E, 0x2003,  0x200B,  0x2028,  0x202F,   0x3000, 0xFEFF,
      0x1C,   0x0,    0x7F,    0x4E00, 0x65E5, 0x672C,  0x9FA5,  0x9FA6,  0x3042,   0x30A2, 0x30FC,
      0xAC00, 0x1100, 0x1161,  0x11A8, 0x2581, 0x1F600, 0x1F1E6, 0x10400, 0x10FFFF, 0xE000, 0x2126,
      0xF73,  0xFB1D, 0x1D15E, 0x340};
  std::string text;
  const uint64_t length = rng.NextBelow(most + 1);
  for (uint64_t i = 0; i < length;) {
    const uint64_t kind = rng.NextBelow(8);
    char32_t c = kind < 4   ? kInteresting[rng.NextBelow(std::size(kInteresting))]
                 : kind < 6 ? static_cast<char32_t>('!' + rng.NextBelow(94))
                            : RandomCodePoint(rng);
    const uint64_t repeats = rng.NextBelow(6) == 0 ? 1 + rng.NextBelow(5) : 1;
    for (uint64_t r = 0; r < repeats && i < length; ++r, ++i) AppendUtf8(c, &text);
  }
  return text;
}

}  // namespace retort::text
