// Text <-> token ids from a Hugging Face tokenizer.json: byte-level BPE and SentencePiece-style BPE
// with byte fallback. tokenizer.json alone decides encoding and decoding; tokenizer_config.json
// only names the BOS, EOS and PAD tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/digest.h"

namespace retort::text {

struct TokenizerParts;  // The pipeline's pieces; see tokenizer_parts.h.

// Immutable, so every method is safe from any thread.
class Tokenizer {
 public:
  // Reads folder/tokenizer.json (<= 64 MiB) and, if it is there, folder/tokenizer_config.json.
  // Errors, all naming the file: NOT_FOUND without tokenizer.json; INVALID_ARGUMENT for text that
  // is not a tokenizer; UNIMPLEMENTED naming the part for a kind of normalizer, pre-tokenizer,
  // model, post-processor or decoder that this room does not know; OUT_OF_RANGE for a file beyond
  // the bounds in tokenizer_json.h.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);

  // The same from the two files' text; `source` stands for the file in errors, an empty
  // `config_json` is none.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(absl::string_view tokenizer_json,
                                                          absl::string_view config_json,
                                                          absl::string_view source);
  ~Tokenizer();

  // Added tokens in `text` become their ids. With `add_special_tokens` a TemplateProcessing
  // post-processor adds its tokens (usually BOS); a ByteLevel one adds nothing. Errors:
  // INVALID_ARGUMENT when `text` is not UTF-8 (names the byte), or holds a character that the
  // vocabulary cannot spell and there is no unknown token (names the character).
  absl::StatusOr<std::vector<int64_t>> Encode(absl::string_view text,
                                              bool add_special_tokens) const;

  // Always valid UTF-8: bytes that are not become U+FFFD. `skip_special_tokens` drops added tokens
  // that are marked `special`, no others. Errors: INVALID_ARGUMENT naming an id that has no token.
  absl::StatusOr<std::string> Decode(absl::Span<const int64_t> ids, bool skip_special_tokens) const;

  int64_t vocab_size() const;  // Largest id + 1; ids between may have no token.
  std::optional<int64_t> bos_id() const;
  std::optional<int64_t> eos_id() const;
  std::optional<int64_t> pad_id() const;

  // The id of exactly this token, vocabulary or added; nullopt if there is none.
  std::optional<int64_t> IdOf(absl::string_view token) const;

  // Of both files' contents: equal digests encode and decode alike.
  Digest digest() const;

  const TokenizerParts& parts() const { return *parts_; }

 private:
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);

  std::unique_ptr<TokenizerParts> parts_;
};

}  // namespace retort::text
