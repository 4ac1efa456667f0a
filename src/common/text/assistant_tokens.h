// A rendered conversation as token ids, with those that a learner trains on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/assistant_ranges.h"
#include "common/text/tokenizer.h"

namespace retort::text {

// The contents of the tokenizer's special tokens, which RenderAssistant asks for.
std::vector<std::string> SpecialTokens(const Tokenizer& tokenizer);

struct AssistantTokens {
  std::vector<int64_t> ids;
  std::vector<bool> trained;  // One a token: its span touches an assistant range. Never the first
                              // token, which nothing predicts.
};

// The whole text is encoded at once and without the post-processor's special tokens, which the
// template writes. Errors: those of Tokenizer::EncodeWithSpans.
absl::StatusOr<AssistantTokens> EncodeAssistant(const Tokenizer& tokenizer,
                                                const AssistantText& conversation);

}  // namespace retort::text
