// Which pairs of tokens merge: (left id, right id) -> rank and merged id. The innermost look-up of
// encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace retort::text {

struct Merge {
  int32_t rank;  // Lower ranks merge first. kNoMerge: the pair does not merge.
  int32_t id;    // Of the merged token.
};
inline constexpr int32_t kNoMerge = INT32_MAX;

// A hash table with open addressing. Not thread-safe while merges are added.
class MergeTable {
 public:
  // Room for `count` merges; the table does not grow.
  explicit MergeTable(size_t count = 0) {
    while (slots_.size() < count + count / 2 + 2) slots_.resize(slots_.size() * 2);
    shift_ = 64;
    for (size_t size = slots_.size(); size > 1; size /= 2) --shift_;
  }

  // A pair that is there already takes the new rank. Ids are >= 0.
  void Add(int32_t left, int32_t right, Merge merge) {
    const uint64_t key = Key(left, right);
    Slot& slot = slots_[SlotOf(key)];
    slot = {key, merge};
  }

  Merge Find(int32_t left, int32_t right) const { return slots_[SlotOf(Key(left, right))].merge; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge = {kNoMerge, 0};
  };

  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Multiplicative hashing; the upper bits are the mixed ones.
  size_t SlotOf(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t hash = (key ^ key >> 29) * 0x9E3779B97F4A7C15u;
    size_t i = static_cast<size_t>(hash >> shift_);
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask;
    return i;
  }

  std::vector<Slot> slots_ = std::vector<Slot>(2);  // A power of two, at most two thirds full.
  int shift_ = 63;
};

}  // namespace retort::text
