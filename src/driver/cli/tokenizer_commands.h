// `retort tokenize|detokenize` and `retort tokenizer train`: a tokenizer without a model, in this
// program.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "common/text/bpe_trainer.h"

namespace retort::driver {

struct TokenizeOptions {
  std::string model;  // Folder with the tokenizer.
  std::string text;   // "-": all of stdin.
  bool special_tokens = true;
  bool replace_invalid_utf8 = false;  // Else such text is refused.
  bool json = false;
};

// Writes the ids on one line, or with `json` an object of ids, tokens, source_spans and
// normalized_spans. Errors: those of Tokenizer::Load and Encode.
absl::Status TokenizeCommand(const TokenizeOptions& options, std::ostream& out);

struct DetokenizeOptions {
  std::string model;
  // Ids, apart or with commas, spaces or brackets between them; "-" alone: all of stdin.
  std::vector<std::string> ids;
  bool skip_special_tokens = false;
  bool json = false;
};

// Writes the text and a line end, or with `json` an object of text.
absl::Status DetokenizeCommand(const DetokenizeOptions& options, std::ostream& out);

struct TrainTokenizerOptions {
  text::BpeTrainerOptions trainer;
  std::vector<std::string> inputs;  // Text files; "-": stdin. Read line by line.
  std::string output;               // Folder; made if it is missing.
  bool overwrite = false;           // Else a tokenizer.json in it is refused.
};

// Writes output/tokenizer.json and says on `out` what it holds. Errors name the file and the line;
// ALREADY_EXISTS if there is one and not `overwrite`.
absl::Status TrainTokenizerCommand(const TrainTokenizerOptions& options, std::ostream& out);

// The three sub-commands on the command line.
class TokenizerCommands {
 public:
  void AddTo(CLI::App& app);
  // Whether the parsed line asked for one of them.
  bool Chosen() const;
  absl::Status Run(std::ostream& out) const;

 private:
  CLI::App* tokenize_ = nullptr;
  CLI::App* detokenize_ = nullptr;
  CLI::App* tokenizer_ = nullptr;
  TokenizeOptions tokenize_options_;
  DetokenizeOptions detokenize_options_;
  TrainTokenizerOptions train_options_;
};

}  // namespace retort::driver
