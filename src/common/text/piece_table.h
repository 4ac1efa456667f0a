// The pieces of a vocabulary: text -> id, for hundreds of thousands of short strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text {

// A hash table with open addressing whose slots are eight bytes; the texts lie where the caller
// keeps them. Not thread-safe while pieces are added.
class PieceTable {
 public:
  // Room for `count` pieces; the table does not grow.
  explicit PieceTable(size_t count = 0);

  // `piece` outlives the table. Returns the id that the piece already has, and changes nothing, or
  // nullopt. At most `count` pieces are added.
  std::optional<int32_t> Add(absl::string_view piece, int32_t id);

  std::optional<int32_t> Find(absl::string_view piece) const;

  size_t size() const { return entries_.size(); }
  struct Entry {
    absl::string_view piece;
    int32_t id;
  };
  const std::vector<Entry>& entries() const { return entries_; }  // In the order of Add.

 private:
  struct Slot {
    uint32_t tag = 0;    // The upper half of the hash.
    uint32_t entry = 0;  // Index + 1; 0: empty.
  };
  // The slot that holds `piece` or is free for it.
  size_t SlotOf(absl::string_view piece, uint64_t hash) const;

  std::vector<Slot> slots_;  // A power of two, at most half full.
  std::vector<Entry> entries_;
};

}  // namespace retort::text
