// A word: what the pre-tokenizer cuts a text into; no token crosses its border.
#pragma once

#include <cstdint>

namespace retort::text {

// Bytes [begin, end) of the text that was cut.
struct Word {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool operator==(const Word&) const = default;
};

}  // namespace retort::text
