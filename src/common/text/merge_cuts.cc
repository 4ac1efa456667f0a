#include "common/text/merge_cuts.h"

#include "common/base/utf8.h"

namespace retort::text {
namespace {

bool IsContinuation(char c) { return (c & 0xC0) == 0x80; }

// Up to four bytes as a number.
uint32_t Packed(absl::string_view character) {
  uint32_t packed = 0;
  for (const char c : character) packed = packed << 8 | static_cast<uint8_t>(c);
  return packed;
}

size_t BrokenIndex(char last_of_left, char first_of_right) {
  return static_cast<size_t>(static_cast<uint8_t>(last_of_left)) << 8 |
         static_cast<uint8_t>(first_of_right);
}

}  // namespace

void MergeCuts::Add(absl::string_view token) {
  size_t left = 0;  // Where the character in front of `right` begins, if it does in this token.
  bool left_whole = !token.empty() && !IsContinuation(token[0]);
  for (size_t right = 1; right < token.size(); ++right) {
    if (IsContinuation(token[right])) continue;
    left_whole = left_whole && CharacterBytes(token[left]) == right - left;
    const size_t bytes = CharacterBytes(token[right]);
    if (!left_whole || right + bytes > token.size()) {
      broken_[BrokenIndex(token[right - 1], token[right])] = true;
    } else {
      const absl::string_view before = token.substr(left, right - left);
      const absl::string_view after = token.substr(right, bytes);
      if (before.size() == 1 && after.size() == 1) {
        ascii_[static_cast<uint8_t>(before[0])].set(static_cast<uint8_t>(after[0]));
      } else {
        Join(Packed(before), Packed(after));
      }
    }
    left = right;
    left_whole = true;
  }
}

size_t MergeCuts::PartEnd(absl::string_view text, size_t begin) const {
  size_t left = begin;
  size_t right = begin + CharacterBytes(text[begin]);
  while (right < text.size()) {
    const uint8_t before = static_cast<uint8_t>(text[right - 1]);
    const uint8_t after = static_cast<uint8_t>(text[right]);
    if ((before | after) < 0x80) {
      if (!ascii_[before].test(after)) return right;
      left = right++;
      continue;
    }
    const size_t bytes = CharacterBytes(text[right]);
    const size_t bit =
        PairBit(Packed(text.substr(left, right - left)), Packed(text.substr(right, bytes)));
    const bool joined = (pairs_[bit / 64] >> (bit % 64) & 1) != 0;
    if (!joined && !broken_[BrokenIndex(text[right - 1], text[right])]) return right;
    left = right;
    right += bytes;
  }
  return text.size();
}

}  // namespace retort::text
