// Remembers how short words were encoded. Bounded: a word takes the place of another, so what is
// found depends on what came before, but never what a word is encoded to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace retort::text {

// A token of a word: the next `bytes` bytes of it.
struct Token {
  int32_t id;
  uint32_t bytes;
  bool operator==(const Token&) const = default;
};

// Not thread-safe.
class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 24;
  static constexpr size_t kMaxTokens = 7;
  static constexpr size_t kEntries = size_t{1} << 16;  // 4 MiB.

  // A word of 1 to kMaxWordBytes bytes as numbers: equal keys are equal words. `part`: it is a part
  // of a longer word, which may be encoded otherwise.
  struct Key {
    uint64_t bytes[3];
    uint8_t size;

    bool operator==(const Key&) const = default;
  };
  static Key MakeKey(absl::string_view word, bool part) {
    const char* const at = word.data();
    const size_t size = word.size();
    Key key = {{0, 0, 0}, static_cast<uint8_t>(part ? size | 0x80 : size)};
    if (size >= 8) {  // Reads that overlap cover every byte.
      std::memcpy(&key.bytes[0], at, 8);
      std::memcpy(&key.bytes[1], at + size - 8, 8);
      if (size > 16) std::memcpy(&key.bytes[2], at + 8, 8);
    } else if (size >= 4) {
      uint32_t low, high;
      std::memcpy(&low, at, 4);
      std::memcpy(&high, at + size - 4, 4);
      key.bytes[0] = static_cast<uint64_t>(high) << 32 | low;
    } else {
      const auto byte = [&](size_t i) {
        return static_cast<uint64_t>(static_cast<uint8_t>(at[i]));
      };
      key.bytes[0] = byte(0) | byte(size / 2) << 8 | byte(size - 1) << 16;
    }
    return key;
  }

  // Appends the word's tokens and returns true if it is remembered.
  bool Find(const Key& key, std::vector<Token>* tokens) {
    if (entries_.empty()) return false;
    Entry* const pair = PairOf(key);
    const Entry& entry = pair[0].key == key ? pair[0] : pair[1];
    if (!(entry.key == key)) return false;
    const size_t before = tokens->size();
    tokens->resize(before + entry.count);
    Token* const out = tokens->data() + before;
    for (size_t i = 0; i < entry.count; ++i) out[i] = {entry.ids[i], entry.bytes[i]};
    return true;
  }

  // Remembers a word that Find did not know, unless it has more than kMaxTokens tokens.
  void Put(const Key& key, absl::Span<const Token> tokens) {
    if (tokens.size() > kMaxTokens) return;
    if (entries_.empty()) entries_.resize(kEntries);
    Entry* const pair = PairOf(key);
    pair[1] = pair[0];
    pair[0].key = key;
    pair[0].count = static_cast<uint8_t>(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      pair[0].ids[i] = tokens[i].id;
      pair[0].bytes[i] = static_cast<uint8_t>(tokens[i].bytes);
    }
  }

 private:
  struct Entry {
    Key key = {{0, 0, 0}, 0};  // Size 0: empty.
    uint8_t count = 0;
    uint8_t bytes[kMaxTokens] = {};
    int32_t ids[kMaxTokens] = {};
  };

  // The two entries that may hold the word.
  Entry* PairOf(const Key& key) {
    const auto mix = [](uint64_t a, uint64_t b) {
      const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
      return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    };
    const uint64_t hash =
        mix(key.bytes[0] ^ 0xA0761D6478BD642Fu, key.bytes[1] ^ 0xE7037ED1A0B428DBu) ^
        mix(key.bytes[2] ^ 0x8EBC6AF09C88C6E3u, key.size ^ 0x589965CC75374CC3u);
    return &entries_[(hash ^ hash >> 32) % (kEntries / 2) * 2];
  }

  std::vector<Entry> entries_;  // Empty until the first Put.
};

}  // namespace retort::text
