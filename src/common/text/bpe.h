// The BPE model of tokenizer.json: a vocabulary and ranked merges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

class BpeModel {
 public:
  // Knows unk_token, fuse_unk, byte_fallback and ignore_merges; refuses dropout and affixes by
  // name, and any model.type but BPE.
  static absl::StatusOr<BpeModel> Make(const JsonObject& tokenizer);

  // Appends the ids of one word: characters first, then the pair of lowest rank is merged, leftmost
  // first, until no pair has one. A character that the vocabulary lacks becomes its <0xNN> tokens
  // (byte_fallback), else the unknown token; without one: INVALID_ARGUMENT naming it.
  absl::Status Encode(absl::string_view word, std::vector<int64_t>* ids) const;

  std::optional<int32_t> IdOf(absl::string_view piece) const;
  const absl::flat_hash_map<std::string, int32_t>& vocabulary() const { return id_of_; }

 private:
  struct Merge {
    int32_t rank;
    int32_t id;  // Of the merged token.
  };
  friend class WordMerger;

  absl::Status ReadVocabulary(const JsonObject& model);
  absl::Status ReadMerges(const JsonObject& model);
  absl::Status ReadByteTokens(const JsonObject& model);
  absl::Status AppendCharacters(absl::string_view word, std::vector<int32_t>* symbols) const;
  std::optional<Merge> MergeOf(int32_t left, int32_t right) const;

  absl::flat_hash_map<std::string, int32_t> id_of_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // left << 32 | right
  std::vector<int32_t> byte_ids_;  // 256 with byte_fallback, else empty; -1: no such token.
  std::optional<int32_t> unknown_id_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace retort::text
