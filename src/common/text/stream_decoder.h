// Decodes ids as they are generated. The concatenation of all Push() results and Finish() equals
// Tokenizer::Decode of all ids, and no result ends inside a code point.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/text/tokenizer.h"

namespace retort::text {

// Not thread-safe. `tokenizer` outlives it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);
  ~StreamDecoder();

  // The text that is settled by `id`; may be empty. INVALID_ARGUMENT for an id that has no token.
  absl::StatusOr<std::string> Push(int64_t id);

  // What was held back (an unfinished character becomes U+FFFD). The decoder then starts anew.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What `ids` add to the text of `prompt`: with it in front, the text of both. Decode(ids) alone is
// not that where a decoder strips the white space at the start. Errors: those of Push.
absl::StatusOr<std::string> DecodeContinuation(const Tokenizer& tokenizer,
                                               absl::Span<const int64_t> prompt,
                                               absl::Span<const int64_t> ids);

}  // namespace retort::text
