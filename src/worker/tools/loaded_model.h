// A Hugging Face folder with tokenizer and weights, ready to compute. What the command-line tools
// start from.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/model.h"
#include "common/text/tokenizer.h"

namespace retort::worker {

struct LoadedModel {
  std::unique_ptr<text::Tokenizer> tokenizer;
  model::Model model;
  int64_t vocab_limit = 0;  // Ids that both the tokenizer and the model know are below it.

  // Ids of `text` without special tokens, the BOS token in front if `add_bos`. INVALID_ARGUMENT
  // when the model has no BOS token, or the text has no token, or one that the model does not know;
  // `what` names the text: "prompt".
  absl::StatusOr<std::vector<int64_t>> Encode(absl::string_view what, const std::string& text,
                                              bool add_bos) const;
};

// Errors are those of LoadModelConfig, LoadModelWeights and Tokenizer::Load: one line naming the
// file.
absl::StatusOr<LoadedModel> LoadModelFolder(const std::string& folder);

}  // namespace retort::worker
