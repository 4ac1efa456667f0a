// Text from outside inside a message of ours: a name in a file, a value, a key.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace retort {

inline constexpr size_t kMaxShownBytes = 80;

// `text` on one line of valid UTF-8: control characters and bytes that are not UTF-8 as C escapes,
// everything else as it is; "…" stands for what is behind the first `max_bytes`, which end at a
// whole character.
std::string Printable(absl::string_view text, size_t max_bytes = kMaxShownBytes);

}  // namespace retort
