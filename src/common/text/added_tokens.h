// Added tokens of tokenizer.json: strings that become one id wherever they stand in a text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/normalizer.h"
#include "common/text/string_set.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;  // Searched in the normalized text, in its normalized form.
  bool lstrip = false;      // White space before it, or behind it, belongs to it.
  bool rstrip = false;
  bool single_word = false;  // Not beside a letter, a digit or what else makes words.
};

class AddedTokens {
 public:
  static absl::StatusOr<AddedTokens> Make(const JsonObject& tokenizer,
                                          const Normalizer& normalizer);

  // What to look for before the normalizer (tokens with normalized: false), and after it. Hits are
  // ids.
  const StringSet& raw() const { return raw_; }
  const StringSet& normalized() const { return normalized_; }

  // Whether what stands beside the hit in `text` allows it.
  bool Allowed(StringSet::Hit hit, absl::string_view text) const;

  // What a hit in `text` covers with the white space that belongs to it. `done`: what is before is
  // taken already.
  StringSet::Hit Widened(StringSet::Hit hit, absl::string_view text, size_t done) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  std::optional<int32_t> IdOf(absl::string_view content) const;

 private:
  std::vector<AddedToken> tokens_;
  absl::flat_hash_map<std::string, int32_t> id_of_;
  StringSet raw_, normalized_;
  absl::flat_hash_set<int32_t> single_words_;
  absl::flat_hash_map<int32_t, std::pair<bool, bool>> strips_;  // lstrip, rstrip; if either.
};

}  // namespace retort::text
