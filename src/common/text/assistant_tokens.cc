#include "common/text/assistant_tokens.h"

#include <utility>

#include "common/base/status_macros.h"

namespace retort::text {

std::vector<std::string> SpecialTokens(const Tokenizer& tokenizer) {
  std::vector<std::string> contents;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsSpecial(id)) contents.emplace_back(*tokenizer.TokenBytes(id));
  }
  return contents;
}

absl::StatusOr<AssistantTokens> EncodeAssistant(const Tokenizer& tokenizer,
                                                const AssistantText& conversation) {
  RETORT_ASSIGN_OR_RETURN(
      Encoding encoding,
      tokenizer.EncodeWithSpans(conversation.chat.text, /*add_special_tokens=*/false));
  std::vector<ByteRange> spans;
  spans.reserve(encoding.source_spans.size());
  for (const ByteSpan& span : encoding.source_spans) {
    spans.push_back({static_cast<size_t>(span.begin), static_cast<size_t>(span.end)});
  }
  AssistantTokens tokens;
  tokens.ids = std::move(encoding.ids);
  tokens.trained = TouchingSpans(spans, conversation.assistant);
  if (!tokens.trained.empty()) tokens.trained[0] = false;
  return tokens;
}

}  // namespace retort::text
