// Running a tokenizer's pipeline over one text.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/text/encoding.h"
#include "common/text/pattern.h"
#include "common/text/tokenizer_parts.h"

namespace retort::text {

// Encodes `text`, of which the caller knows that it is valid UTF-8 and within the bounds. One use.
class Encoder {
 public:
  // `with_spans` false leaves both kinds of spans empty. All arguments outlive the encoder.
  Encoder(const TokenizerParts& parts, EncodeScratch* scratch, absl::string_view text,
          bool with_spans, Encoding* out)
      : parts_(parts), scratch_(*scratch), text_(text), with_spans_(with_spans), out_(*out) {}

  // Errors name the byte of the text.
  absl::Status Run(bool add_special_tokens);

 private:
  absl::Status AddRawPiece(size_t begin, size_t end);
  absl::Status AddNormalizedPiece(absl::string_view normalized, size_t begin, size_t end);
  void AddAddedToken(int32_t id, ByteSpan source);
  void AddTemplateToken(int64_t id);
  void AddTokens(size_t normalized_begin, bool prefixed);
  void AddSpans(int32_t at, bool prefixed);
  absl::Status At(const absl::Status& status, size_t piece_offset) const;

  const TokenizerParts& parts_;
  EncodeScratch& scratch_;
  const absl::string_view text_;
  const bool with_spans_;
  Encoding& out_;

  MatchBudget budget_{text_.size()};

  // Of the piece between two raw added tokens that is at work.
  size_t raw_begin_ = 0, raw_end_ = 0;
  EditWalker walker_{scratch_.edits};
  int32_t normalized_total_ = 0;  // Bytes of the normalized text so far.
};

}  // namespace retort::text
