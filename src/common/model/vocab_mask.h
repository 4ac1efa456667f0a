// Which ids of a vocabulary can be a token at all. An embedding often has more rows than the
// tokenizer has tokens, and a tokenizer may leave ids without a token.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace retort::model {

// Ids in [0, limit) except `excluded` exist. The others have probability 0, also in every
// normaliser.
struct VocabMask {
  int64_t limit = 0;
  std::vector<int64_t> excluded = {};  // Ascending, distinct, each in [0, limit).

  bool Contains(int64_t id) const {
    return id >= 0 && id < limit && !std::binary_search(excluded.begin(), excluded.end(), id);
  }
  int64_t size() const { return limit - static_cast<int64_t>(excluded.size()); }

  bool operator==(const VocabMask&) const = default;
};

}  // namespace retort::model
