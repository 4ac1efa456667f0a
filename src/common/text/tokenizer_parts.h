// The pipeline of one tokenizer.json, in the order in which it runs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"
#include "common/text/added_tokens.h"
#include "common/text/bpe.h"
#include "common/text/decoder.h"
#include "common/text/encode_scratch.h"
#include "common/text/normalizer.h"
#include "common/text/post_processor.h"
#include "common/text/pre_tokenizer.h"

namespace retort::text {

// What a token id decodes from. The texts are views of the model's, the added tokens' or
// TokenizerParts::bytes.
struct TokenEntry {
  absl::string_view piece;
  absl::string_view bytes;  // See Tokenizer::TokenBytes.
  bool present = false;
  bool added = false;
  bool special = false;        // Dropped by skip_special_tokens.
  bool byte_fallback = false;  // A <0xNN> token that stands for a byte.
};

struct TokenizerParts {
  explicit TokenizerParts(BpeModel bpe) : model(std::move(bpe)) {}

  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  PostProcessor post_processor;
  Decoder decoder;
  std::vector<TokenEntry> entries;  // By id.
  std::vector<char> bytes;
  std::optional<int64_t> bos_id, eos_id, pad_id;
  Digest digest;
  mutable EncodeScratchPool scratch;

  // INVALID_ARGUMENT naming the id if it has no token.
  absl::StatusOr<const TokenEntry*> Entry(int64_t id) const;
};

}  // namespace retort::text
