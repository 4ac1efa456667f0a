// Tokens and their log-probs in the tools' JSON.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/json.h"
#include "common/text/tokenizer.h"

namespace retort::worker {

// The shortest decimals that read back as the same floats; null for those that are not finite.
Json FloatsJson(absl::Span<const float> values);

// What each id stands for; bytes that are half a character become U+FFFD. Null for
// an id that has no token (the model has more rows than the tokenizer has tokens).
Json TokensJson(const text::Tokenizer& tokenizer, absl::Span<const int64_t> ids);

// For each token a list of `k` objects {id, token, log_prob}. ids, log_probs: k a token.
Json TopJson(const text::Tokenizer& tokenizer, absl::Span<const int64_t> ids,
             absl::Span<const float> log_probs, int64_t k);

}  // namespace retort::worker
