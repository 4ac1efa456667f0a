#include "common/text/piece_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/base/check.h"

namespace retort::text {
namespace {

uint64_t Hash(absl::string_view piece) { return XXH3_64bits(piece.data(), piece.size()); }

}  // namespace

PieceTable::PieceTable(size_t count) {
  size_t slots = 2;
  while (slots < 2 * count) slots *= 2;
  slots_.resize(slots);
  entries_.reserve(count);
}

size_t PieceTable::SlotOf(absl::string_view piece, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  const uint32_t tag = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.entry == 0) return i;
    if (slot.tag == tag && entries_[slot.entry - 1].piece == piece) return i;
  }
}

std::optional<int32_t> PieceTable::Add(absl::string_view piece, int32_t id) {
  const uint64_t hash = Hash(piece);
  Slot& slot = slots_[SlotOf(piece, hash)];
  if (slot.entry != 0) return entries_[slot.entry - 1].id;
  RETORT_CHECK(2 * entries_.size() < slots_.size());
  entries_.push_back({piece, id});
  slot = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(entries_.size())};
  return std::nullopt;
}

std::optional<int32_t> PieceTable::Find(absl::string_view piece) const {
  const Slot& slot = slots_[SlotOf(piece, Hash(piece))];
  if (slot.entry == 0) return std::nullopt;
  return entries_[slot.entry - 1].id;
}

}  // namespace retort::text
