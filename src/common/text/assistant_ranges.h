// Which bytes of a rendered conversation the assistant wrote: what a learner trains on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/text/chat_template.h"

namespace retort::text {

struct AssistantText {
  ChatText chat;                     // What ChatTemplate::Render gives for the same input.
  std::vector<ByteRange> assistant;  // Of chat.text: ascending, one for each assistant message.
};

// Each is found by rendering the conversation up to it.
inline constexpr int64_t kMaxAssistantMessages = 512;

struct AssistantOptions {
  // Only the last assistant message. For templates that render a message in another way once more
  // follow, such as those that drop the reasoning of earlier turns.
  bool last_turn_only = false;
};

// A range begins where the generation prompt for its message ends, so that the model is trained on
// exactly what it will have to write, and ends behind the first special token after the message's
// content (the end of turn). With tool calls, or when the content is not in the text as it is, it
// ends behind the last special token of the message's text; without any special token, at its end.
//   special_tokens  contents of the tokenizer's special tokens, such as "<|im_end|>".
// Errors: those of ChatTemplate::Render; INVALID_ARGUMENT naming the message when the text up to
// it, with or without it, is not how the whole text begins, and for more than kMaxAssistantMessages
// of them without last_turn_only.
absl::StatusOr<AssistantText> RenderAssistant(const ChatTemplate& chat_template,
                                              const ChatInput& input,
                                              absl::Span<const std::string> special_tokens,
                                              const AssistantOptions& options = {});

// For each token's span of the text whether it touches a range: such a token is trained. An empty
// span touches nothing. Both ascending.
std::vector<bool> TouchingSpans(absl::Span<const ByteRange> spans,
                                absl::Span<const ByteRange> ranges);

}  // namespace retort::text
