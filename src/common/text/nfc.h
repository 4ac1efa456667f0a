// Unicode normalization form C of valid UTF-8, segment by segment: a segment is a character that
// begins one and the characters behind it that do not. Segments normalise independently of each
// other. Tables: utf8proc.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "common/text/edit_map.h"

namespace retort::text {

// Where the first segment begins that is not made of characters which NFC leaves alone whatever
// stands beside them; text.size() if there is none.
size_t FirstNfcCandidate(absl::string_view text);

// Appends NFC(text) to `out`, which is empty, and what changed to `edits` unless that is null. In a
// segment that changes, the edit is what remains between the common bytes at its front and its end.
// Returns whether anything changed. Linear in the text but for the sorting of combining marks.
bool AppendNfc(absl::string_view text, std::string* out, EditMap* edits);

}  // namespace retort::text
