// UTF-8: strict validation, code points, and lossy decoding of arbitrary bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace retort {

// The offset of the first byte that is not part of valid UTF-8 (no overlong forms, no surrogates).
std::optional<size_t> FirstInvalidByte(absl::string_view bytes);

// Whether `text` (not empty) begins with a whole valid character.
bool StartsWithCharacter(absl::string_view text);

// Bytes of the character that begins with `lead`, in valid UTF-8: 1 to 4.
size_t CharacterBytes(char lead);

// The code point of the valid UTF-8 character at the front of `text` (not empty).
char32_t CodePoint(absl::string_view text);

void AppendUtf8(char32_t code_point, std::string* out);

// Appends `bytes` to `out`, each maximal invalid part as one U+FFFD (WHATWG). Unless `final`, a
// valid but unfinished character at the end is left: returns how many bytes were consumed.
size_t AppendLossyUtf8(absl::string_view bytes, bool final, std::string* out);

// All of `bytes` that way.
std::string LossyUtf8(absl::string_view bytes);

}  // namespace retort
