// A tokenizer.json taken apart: the two large lists of its model as text, all else as a JSON tree.
// And the same for an older pair of files, vocab.json and merges.txt.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace retort::text {

// A value as it stands in a file.
struct RawValue {
  absl::string_view text;  // Empty: the file has no such key.
  size_t offset = 0;       // Of `text` in the file.
};

struct TokenizerDocument {
  nlohmann::json tree;                 // Without model.vocab and model.merges (null there).
  RawValue vocabulary;                 // model.vocab
  RawValue merges;                     // model.merges
  std::unique_ptr<std::string> owned;  // What `merges` views where the file has no such JSON.
};

// Views of the result point into `text`. Errors: INVALID_ARGUMENT naming `source` and the byte.
absl::StatusOr<TokenizerDocument> ReadTokenizerDocument(absl::string_view text,
                                                        absl::string_view source);

// The members of the object `text` that are in `keys`, as a tree; the rest is only checked.
absl::StatusOr<nlohmann::json> ReadMembers(absl::string_view text, absl::string_view source,
                                           std::initializer_list<absl::string_view> keys);

}  // namespace retort::text
