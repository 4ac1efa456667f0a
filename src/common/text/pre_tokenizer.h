// The pre-tokenizer of tokenizer.json: cuts normalized text into words; no token crosses a word's
// border.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

using Words = std::vector<std::string>;

// One cutting step. Immutable.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Appends the words of `word` to `out`; no empty ones.
  virtual absl::Status Cut(std::string word, Words* out) const = 0;
};

class PreTokenizer {
 public:
  // Knows null, Sequence, ByteLevel and Split (Isolated, MergedWithPrevious; not inverted).
  static absl::StatusOr<PreTokenizer> Make(const JsonObject& tokenizer);

  // Valid UTF-8 in and out. With a ByteLevel step the words are spelled in the byte alphabet.
  absl::StatusOr<Words> Cut(std::string text) const;

  bool byte_level() const { return byte_level_; }

 private:
  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
  bool byte_level_ = false;
};

}  // namespace retort::text
