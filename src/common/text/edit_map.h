// Where a rewritten text came from: the ranges that differ, in order. Between two edits both texts
// are equal byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/text/encoding.h"

namespace retort::text {

// Source bytes [source_begin, source_end) became target bytes [target_begin, target_end). Either
// may be empty.
struct Edit {
  int32_t source_begin, source_end;
  int32_t target_begin, target_end;
  bool operator==(const Edit&) const = default;
};

// Not thread-safe. Edits are sorted and do not overlap; two may touch.
class EditMap {
 public:
  bool empty() const { return edits_.empty(); }
  void Clear() { edits_.clear(); }
  // Clears, and frees the memory of more than `most_kept` edits.
  void Trim(size_t most_kept) {
    edits_.clear();
    if (edits_.capacity() > most_kept) std::vector<Edit>().swap(edits_);
  }
  const std::vector<Edit>& edits() const { return edits_; }

  // `edit` lies behind every edit so far.
  void Add(const Edit& edit) { edits_.push_back(edit); }

  // Source bytes of target bytes [begin, end): an edit is one unit, so who touches one of its bytes
  // has its whole source. An empty range is empty at its source position.
  ByteSpan Source(int32_t begin, int32_t end) const;

  // The map of `first`'s source to `second`'s target, where `second` starts from what `first` made.
  // Edits that overlap become one.
  static EditMap Compose(const EditMap& first, const EditMap& second);

 private:
  friend class EditWalker;
  std::vector<Edit> edits_;
};

// EditMap::Source for ranges whose begins never decrease, in amortised constant time as long as
// their ends do not either.
// `map` outlives it.
class EditWalker {
 public:
  explicit EditWalker(const EditMap& map) : edits_(&map.edits_) {}
  ByteSpan Source(int32_t begin, int32_t end);

 private:
  void AdvanceTo(int32_t target);

  const std::vector<Edit>* edits_;
  size_t known_ = 0;  // Edits that begin at or before the last position asked for.
  int32_t last_end_ = 0;
};

}  // namespace retort::text
