// Learns a small byte-level BPE tokenizer from text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/split_scanner.h"

namespace retort::text {

struct BpeTrainerOptions {
  // Tokens in all: special ones, the 256 bytes, and what merging makes.
  int64_t vocab_size = 0;
  std::vector<std::string> special_tokens = {};  // They get the first ids.
  std::string pattern = "gpt2";  // gpt2, llama3, qwen2 or gpt-oss: cuts text into words.
  int64_t min_count = 2;         // A pair that occurs less often is not merged.
};

// Counts words as texts come; holds the distinct words, not the texts. Not thread-safe.
class BpeTrainer {
 public:
  static constexpr int64_t kMaxVocabSize = 1'000'000;
  static constexpr int64_t kMaxSpecialTokens = 10'000;
  static constexpr size_t kMaxDistinctBytes = size_t{1} << 30;

  // INVALID_ARGUMENT naming the option that is out of range.
  static absl::StatusOr<BpeTrainer> Make(BpeTrainerOptions options);

  // Words do not reach across texts. Errors: INVALID_ARGUMENT naming the byte that is not UTF-8;
  // RESOURCE_EXHAUSTED when there are more distinct words than the bounds allow.
  absl::Status Add(absl::string_view text);

  struct Result {
    std::string tokenizer_json;
    int64_t vocab_size = 0;  // Below the wish where no pair was left to merge.
    int64_t distinct_words = 0;
  };
  // The pair that occurs most often becomes a token, of equally frequent ones that of the lowest
  // ids, again and again. The result follows from the texts, whatever their order.
  Result Train() const;

 private:
  BpeTrainer(BpeTrainerOptions options, SplitScanner scanner)
      : options_(std::move(options)), scanner_(scanner) {}

  BpeTrainerOptions options_;
  SplitScanner scanner_;
  absl::flat_hash_map<std::string, int64_t> counts_;
  size_t distinct_bytes_ = 0;
  std::vector<Word> words_;
};

}  // namespace retort::text
