// The text of one sample while its tokens are drawn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/text/stop_strings.h"
#include "common/text/stream_decoder.h"

namespace retort::worker {

// Not thread-safe. `tokenizer` outlives it.
class AnswerText {
 public:
  // What `prompt` and the sample's ids say together, less the prompt's own text: decoders that
  // strip a leading space strip the prompt's. `stops`: none is empty. INVALID_ARGUMENT a prompt id
  // has no token.
  static absl::StatusOr<std::unique_ptr<AnswerText>> Make(const text::Tokenizer& tokenizer,
                                                          absl::Span<const int64_t> prompt,
                                                          std::vector<std::string> stops);

  // Appends a token. INVALID_ARGUMENT: it has none.
  absl::Status Push(int64_t id);
  // No token follows.
  void Finish();

  bool stopped() const { return stop_.stopped(); }
  // All of it: whole characters, nothing from a stop string on, nothing that may begin one.
  const std::string& text() const { return text_; }
  // What has come since the last call.
  std::string TakeNew();

 private:
  AnswerText(const text::Tokenizer& tokenizer, std::vector<std::string> stops)
      : decoder_(tokenizer), stop_(std::move(stops)) {}

  text::StreamDecoder decoder_;
  text::StopScanner stop_;
  std::string text_;
  size_t taken_ = 0;
};

}  // namespace retort::worker
