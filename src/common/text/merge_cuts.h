// Where no merge can reach across: between two characters that stand side by side in no token that
// merging makes. A word may be cut there and its parts encoded alone, with the same result, however
// the ranks are. It turns the long words of languages without spaces, and of tokenizers without a
// pre-tokenizer, into short ones.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text {

// Not thread-safe while tokens are added.
class MergeCuts {
 public:
  MergeCuts() : pairs_(kPairBits / 64), broken_(1 << 16) {}

  // `token`: the bytes of what some merge makes; may begin or end inside of a character.
  void Add(absl::string_view token);

  // The end of the first part of text[begin, text.size()): the first place at or behind which it
  // may be cut, or text.size(). Valid UTF-8; `begin` at a character.
  size_t PartEnd(absl::string_view text, size_t begin) const;

 private:
  static constexpr size_t kPairBits = size_t{1} << 19;

  static size_t PairBit(uint32_t left, uint32_t right) {
    return ((left * 0x9E3779B1u) ^ (right * 0x85EBCA6Bu)) >> 13;
  }
  // `left`, `right`: the bytes of a character each, as a number.
  void Join(uint32_t left, uint32_t right) {
    const size_t bit = PairBit(left, right);
    pairs_[bit / 64] |= uint64_t{1} << (bit % 64);
  }

  // A bit for every pair of characters, by hash: a collision only means one cut less.
  std::vector<uint64_t> pairs_;
  // By last byte of the left and first byte of the right character, where a token holds only a part
  // of one of them.
  std::vector<bool> broken_;
  std::array<std::bitset<128>, 128> ascii_;  // Pairs of ASCII characters, exactly.
};

}  // namespace retort::text
