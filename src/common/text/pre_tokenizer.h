// The pre-tokenizer of tokenizer.json: cuts normalized text into words.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/pattern.h"
#include "common/text/tokenizer_json.h"
#include "common/text/word.h"

namespace retort::text {

// One cutting step. Immutable.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Appends the words of text[piece), which is not empty, to `words`; no empty ones. On an error
  // `*stopped_at` is where in `text` the step gave up. `budget` is for all of the text.
  virtual absl::Status Cut(absl::string_view text, Word piece, std::vector<Word>* words,
                           MatchBudget* budget, size_t* stopped_at) const = 0;
};

class PreTokenizer {
 public:
  // Knows null, Sequence, ByteLevel (last; add_prefix_space only where no Split is before it) and
  // Split (Isolated, MergedWithPrevious; not inverted). Patterns that FindSplitScanner knows are
  // scanned by hand.
  static absl::StatusOr<PreTokenizer> Make(const JsonObject& tokenizer);

  // Sets `words` to those of `text` (valid UTF-8, < 2 GiB), in order and without gaps. `spare` is
  // overwritten. Errors: RESOURCE_EXHAUSTED when a pattern gives up, at byte `*stopped_at`.
  absl::Status Cut(absl::string_view text, std::vector<Word>* words, std::vector<Word>* spare,
                   MatchBudget* budget, size_t* stopped_at) const;

  // Whether tokens stand for bytes, spelled in the byte alphabet.
  bool byte_level() const { return byte_level_; }

  // Whether a text that does not begin with a space is to be cut as if it did.
  bool add_prefix_space() const { return add_prefix_space_; }

 private:
  friend class PreTokenizerReader;

  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
  bool byte_level_ = false;
  bool add_prefix_space_ = false;
};

}  // namespace retort::text
