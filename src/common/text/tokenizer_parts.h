// The pipeline of one tokenizer.json, in the order in which it runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/text/added_tokens.h"
#include "common/text/bpe.h"
#include "common/text/decoder.h"
#include "common/text/normalizer.h"
#include "common/text/post_processor.h"
#include "common/text/pre_tokenizer.h"

namespace retort::text {

// What a token id decodes from.
struct TokenEntry {
  std::string piece;
  bool present = false;
  bool special = false;  // Dropped by skip_special_tokens.
};

struct TokenizerParts {
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  PostProcessor post_processor;
  Decoder decoder;
  std::vector<TokenEntry> entries;  // By id.
  std::optional<int64_t> bos_id, eos_id, pad_id;
  Digest digest;

  // INVALID_ARGUMENT naming the id if it has no token.
  absl::StatusOr<const TokenEntry*> Entry(int64_t id) const;
};

}  // namespace retort::text
