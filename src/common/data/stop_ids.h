// Which tokens end a response: what a rollout stops at and what supervised training teaches last.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/layout/model_config.h"
#include "common/text/tokenizer.h"

namespace retort::data {

// A sample ends with one of these: the model's eos_token_ids; if it names none, the tokenizer's
// EOS. Empty: only by length.
std::vector<int64_t> StopIdsOf(const layout::ModelConfig& config, const text::Tokenizer& tokenizer);

// The token that training data ends a response with: the tokenizer's EOS, else the first stop id.
// Errors: INVALID_ARGUMENT if there is neither, or the tokenizer's EOS is no stop id: a policy that
// learned it would never stop.
absl::StatusOr<int64_t> EosOf(const text::Tokenizer& tokenizer, absl::Span<const int64_t> stop_ids);

}  // namespace retort::data
