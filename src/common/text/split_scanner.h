// Split patterns of widely used tokenizers, matched by hand instead of by a regex engine. A pattern
// is known by its exact text; the matches are those of the regex (leftmost, alternatives in order).
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/word.h"

namespace retort::text {

// Appends the matches in text[piece) and the gaps between them to `words`, in order, none empty:
// what Split does with behavior Isolated. The pattern sees nothing outside of the piece.
using SplitScanner = void (*)(absl::string_view text, Word piece, std::vector<Word>* words);

// nullptr if `pattern` is none of: GPT-2's, Llama 3's, Qwen 2's (and 3's), the three of DeepSeek
// V3, gpt-oss's.
SplitScanner FindSplitScanner(absl::string_view pattern);

// A pattern that has a scanner, and what it is called.
struct KnownPattern {
  absl::string_view name;
  absl::string_view pattern;
  SplitScanner scanner;
};
const std::vector<KnownPattern>& KnownPatterns();

// The pattern of that name; empty if there is none.
absl::string_view PatternNamed(absl::string_view name);

// What ByteLevel means by use_regex. Source: GPT-2's encoder.py.
extern const absl::string_view kGpt2Pattern;

}  // namespace retort::text
