// Added tokens of tokenizer.json: strings that become one id wherever they stand in a text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/normalizer.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;  // Searched in the normalized text, in its normalized form.
};

// Finds strings of a set: the leftmost, and of those the longest.
class StringSet {
 public:
  void Add(absl::string_view text, int32_t id);  // `text` is not empty.

  struct Hit {
    size_t begin, end;
    int32_t id;
  };
  std::optional<Hit> FindFrom(absl::string_view text, size_t from) const;

 private:
  struct Node {
    int32_t id = -1;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  absl::flat_hash_map<uint64_t, uint32_t> edges_;  // node << 8 | byte
};

// A piece of text: plain, or the added token `id`.
struct Piece {
  std::string text;
  std::optional<int32_t> id;
};

class AddedTokens {
 public:
  // Refuses single_word, lstrip and rstrip by name.
  static absl::StatusOr<AddedTokens> Make(const JsonObject& tokenizer,
                                          const Normalizer& normalizer);

  // Cuts the added tokens with normalized: false (true) out of `text`.
  std::vector<Piece> Cut(absl::string_view text, bool normalized) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  StringSet raw_, normalized_;
};

}  // namespace retort::text
