// What encoding a text yields.
#pragma once

#include <cstdint>
#include <vector>

namespace retort::text {

// Bytes [begin, end) of a text.
struct ByteSpan {
  int32_t begin = 0;
  int32_t end = 0;
  bool operator==(const ByteSpan&) const = default;
};

// Three parallel vectors, one entry a token. The begins of both spans never decrease.
struct Encoding {
  std::vector<int64_t> ids;

  // In the text that was given, before any normalizer. A byte-level token covers its bytes, a
  // SentencePiece token its characters: U+2581 that stands for a space is that one byte, a
  // byte-fallback token one byte, a U+2581 that a Prepend normalizer added nothing. Where a
  // normalizer changed characters, every token that touches the change covers all of its source, so
  // such spans overlap. An added token covers its text; a token of the post-processor's template is
  // empty and stands where it was added.
  std::vector<ByteSpan> source_spans;

  // With a byte-level tokenizer: in the normalized text, that is the contents of the added tokens
  // and the normalized pieces between them, concatenated; these partition it. Otherwise the same as
  // source_spans. A token of the template is [0, 0).
  std::vector<ByteSpan> normalized_spans;
};

}  // namespace retort::text
