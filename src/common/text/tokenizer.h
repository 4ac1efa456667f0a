// Text <-> token ids from a Hugging Face tokenizer.json: byte-level BPE and SentencePiece-style BPE
// with byte fallback. tokenizer.json alone decides encoding and decoding; tokenizer_config.json
// only names the BOS, EOS and PAD tokens. An older folder has vocab.json and merges.txt instead.
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
#include "common/text/encoding.h"

namespace retort::text {

struct TokenizerParts;  // The pipeline's pieces; see tokenizer_parts.h.

// Immutable, so every method is safe from any thread.
class Tokenizer {
 public:
  // Reads folder/tokenizer.json (<= 64 MiB), or vocab.json and merges.txt where it is missing
  // (vocab_merges.h), and, if it is there, folder/tokenizer_config.json. Errors, all naming the
  // file: NOT_FOUND without these; INVALID_ARGUMENT for text that is not a tokenizer; UNIMPLEMENTED
  // naming the part for a kind of normalizer, pre-tokenizer, model, post-processor or decoder that
  // this room does not know, or the file where there is only one of another kind; OUT_OF_RANGE for
  // a file beyond the bounds in tokenizer_json.h.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);

  // The same from the two files' text; `source` stands for the file in errors, an empty
  // `config_json` is none.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(absl::string_view tokenizer_json,
                                                          absl::string_view config_json,
                                                          absl::string_view source);
  ~Tokenizer();

  // Added tokens in `text` become their ids. With `add_special_tokens` a TemplateProcessing
  // post-processor adds its tokens (usually BOS); a ByteLevel one adds nothing. Errors, naming the
  // byte of `text`: INVALID_ARGUMENT when it is not UTF-8 or longer than 64 MiB, or holds a
  // character that the vocabulary cannot spell and there is no unknown token; RESOURCE_EXHAUSTED
  // when a pattern of the tokenizer gives up on it.
  absl::StatusOr<std::vector<int64_t>> Encode(absl::string_view text,
                                              bool add_special_tokens) const;

  // The same with the bytes that every token covers.
  absl::StatusOr<Encoding> EncodeWithSpans(absl::string_view text, bool add_special_tokens) const;

  // Always valid UTF-8: bytes that are not become U+FFFD. `skip_special_tokens` drops added tokens
  // that are marked `special`, no others. Errors: INVALID_ARGUMENT naming an id that has no token.
  absl::StatusOr<std::string> Decode(absl::Span<const int64_t> ids, bool skip_special_tokens) const;

  int64_t vocab_size() const;  // Largest id + 1; ids between may have no token.
  bool HasToken(int64_t id) const;
  std::vector<int64_t> IdsWithoutToken(int64_t limit) const;  // Ascending, in [0, limit).

  // What token `id` stands for. Byte-level: its bytes. SentencePiece style: its characters with
  // U+2581 read as a space, the byte of a byte-fallback token. Added tokens: their content. Alone
  // it may be half a character. Errors: INVALID_ARGUMENT naming an id that has no token.
  absl::StatusOr<absl::string_view> TokenBytes(int64_t id) const;

  // Of ids that have a token; false for others.
  bool IsSpecial(int64_t id) const;       // What skip_special_tokens drops.
  bool IsByteFallback(int64_t id) const;  // A <0xNN> token.

  std::optional<int64_t> bos_id() const;
  std::optional<int64_t> eos_id() const;
  std::optional<int64_t> pad_id() const;

  // The id of exactly this token, vocabulary or added; nullopt if there is none.
  std::optional<int64_t> IdOf(absl::string_view token) const;

  // Of the files' contents: equal digests encode and decode alike.
  Digest digest() const;

  // Of every token's id, bytes and flags: equal digests mean the same by an id, however the files
  // are written. Computed anew by every call, in milliseconds.
  Digest VocabularyDigest() const;

  const TokenizerParts& parts() const { return *parts_; }

 private:
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);
  absl::Status Run(absl::string_view text, bool add_special_tokens, bool with_spans,
                   Encoding* out) const;

  std::unique_ptr<TokenizerParts> parts_;
};

}  // namespace retort::text
