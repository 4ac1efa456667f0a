// GPT-2's byte alphabet: every byte stands for one printable character, so that byte-level BPE
// works on text.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace retort::text {

// The character of `byte`, as UTF-8: itself where it is printable Latin-1, else U+0100 and up in
// order.
absl::string_view ByteCharacter(uint8_t byte);

// `bytes` spelled in the alphabet.
std::string ToByteAlphabet(absl::string_view bytes);

// Appends what `piece` stands for: its bytes if all of its characters lie in the alphabet, else its
// UTF-8.
void AppendFromByteAlphabet(absl::string_view piece, std::string* out);

}  // namespace retort::text
