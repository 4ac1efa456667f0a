// The BPE model of tokenizer.json: a vocabulary and ranked merges.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/merge_cuts.h"
#include "common/text/merge_table.h"
#include "common/text/piece_table.h"
#include "common/text/tokenizer_document.h"
#include "common/text/tokenizer_json.h"
#include "common/text/word_cache.h"

namespace retort::text {

// Immutable once made.
class BpeModel {
 public:
  // `tokenizer` is the root of document.tree. Knows unk_token, fuse_unk, byte_fallback and
  // ignore_merges; refuses dropout and affixes by name, and any model.type but BPE. `byte_level`:
  // words are bytes, which the vocabulary spells in the byte alphabet; else they are characters.
  static absl::StatusOr<BpeModel> Make(const JsonObject& tokenizer,
                                       const TokenizerDocument& document, bool byte_level);
  BpeModel(BpeModel&&) = default;
  BpeModel& operator=(BpeModel&&) = default;

  // Appends the tokens of one word (valid UTF-8, not empty, < 2 GiB); they cover it byte for byte.
  // Characters (bytes) first, then the pair of lowest rank is merged, leftmost first, until no pair
  // has one. A character that the vocabulary lacks becomes its <0xNN> tokens (byte_fallback), else
  // the unknown token; without one: INVALID_ARGUMENT naming it. `cache` is of this model alone.
  absl::Status Encode(absl::string_view word, WordCache* cache, std::vector<Token>* tokens) const;

  std::optional<int32_t> IdOf(absl::string_view piece) const { return pieces_.Find(piece); }
  const PieceTable& pieces() const { return pieces_; }

  // By byte, the id of its <0xNN> token, -1 where there is none; empty without byte_fallback.
  const std::vector<int32_t>& fallback_ids() const { return fallback_ids_; }

 private:
  friend class BpeReader;
  BpeModel() = default;

  absl::Status EncodePart(absl::string_view part, bool whole_word, WordCache* cache,
                          std::vector<Token>* tokens) const;
  absl::Status EncodeUncached(absl::string_view part, bool whole_word,
                              std::vector<Token>* tokens) const;
  absl::Status AppendBytes(absl::string_view part, std::vector<Token>* symbols) const;
  absl::Status AppendCharacters(absl::string_view part, std::vector<Token>* symbols) const;
  absl::Status AppendUnknown(absl::string_view character, bool after_unknown,
                             std::vector<Token>* symbols) const;
  int32_t CharacterId(absl::string_view character) const;  // -1: the vocabulary lacks it.

  std::vector<char> texts_;  // Of the pieces; does not move with the model, as a short string may.
  PieceTable pieces_;
  MergeTable merges_;
  MergeCuts cuts_;
  bool byte_level_ = false;
  bool may_cut_ = true;                 // Whether cuts_ hold of this vocabulary.
  std::array<int32_t, 256> byte_ids_;   // byte_level: the token of a byte; -1: none.
  std::vector<int32_t> character_ids_;  // Else, by code point below U+10000; -1: none.
  std::vector<int32_t> fallback_ids_;   // 256 with byte_fallback, else empty; -1: no such token.
  std::optional<int32_t> unknown_id_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace retort::text
