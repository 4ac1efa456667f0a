// Putting a tokenizer's parts together from its files.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/tokenizer_document.h"
#include "common/text/tokenizer_parts.h"

namespace retort::text {

// The files of a tokenizer's folder. A missing one is empty.
struct TokenizerFiles {
  std::string tokenizer_json;
  std::string vocab_json, merges_txt;  // Where there is no tokenizer.json.
  std::string added_tokens_json;       // Beside these two only.
  std::string config_json;             // tokenizer_config.json
};

// Errors are those of Tokenizer::Load.
absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(const std::string& folder);

// `source` stands for the folder in errors.
absl::StatusOr<std::unique_ptr<TokenizerParts>> MakeTokenizerParts(const TokenizerFiles& files,
                                                                   absl::string_view source);

}  // namespace retort::text
