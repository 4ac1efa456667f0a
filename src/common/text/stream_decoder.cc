#include "common/text/stream_decoder.h"

#include "common/base/status_macros.h"
#include "common/text/tokenizer_parts.h"

namespace retort::text {

struct StreamDecoder::State {
  State(const TokenizerParts& tokenizer_parts, bool skip)
      : parts(tokenizer_parts), skip_special_tokens(skip), stream(tokenizer_parts.decoder) {}

  const TokenizerParts& parts;
  const bool skip_special_tokens;
  DecodeStream stream;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : state_(std::make_unique<State>(tokenizer.parts(), skip_special_tokens)) {}
StreamDecoder::~StreamDecoder() = default;

absl::StatusOr<std::string> StreamDecoder::Push(int64_t id) {
  RETORT_ASSIGN_OR_RETURN(const TokenEntry* entry, state_->parts.Entry(id));
  std::string text;
  if (!(state_->skip_special_tokens && entry->special)) state_->stream.Push(entry->piece, &text);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text;
  state_->stream.Finish(&text);
  return text;
}

absl::StatusOr<std::string> DecodeContinuation(const Tokenizer& tokenizer,
                                               absl::Span<const int64_t> prompt,
                                               absl::Span<const int64_t> ids) {
  StreamDecoder decoder(tokenizer);
  for (const int64_t id : prompt) RETORT_RETURN_IF_ERROR(decoder.Push(id).status());
  std::string text;
  for (const int64_t id : ids) {
    RETORT_ASSIGN_OR_RETURN(const std::string piece, decoder.Push(id));
    text += piece;
  }
  return text + decoder.Finish();
}

}  // namespace retort::text
