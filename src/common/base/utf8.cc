#include "common/base/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace retort {
namespace {

constexpr absl::string_view kReplacement = "\xef\xbf\xbd";

struct Scan {
  size_t bytes;     // Length of the character, or of its maximal valid prefix (at least 1).
  bool complete;    // A whole valid character.
  bool unfinished;  // A valid prefix that ends only because the text does.
};

// Unicode table 3-7: the second byte's range depends on the first.
Scan ScanCharacter(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < length; ++i) {
    if (i >= text.size()) return {i, false, true};
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1 && lead == 0xE0) low = 0xA0;
    if (i == 1 && lead == 0xED) high = 0x9F;
    if (i == 1 && lead == 0xF0) low = 0x90;
    if (i == 1 && lead == 0xF4) high = 0x8F;
    if (byte(i) < low || byte(i) > high) return {i, false, false};
  }
  return {length, true, false};
}

}  // namespace

std::optional<size_t> FirstInvalidByte(absl::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    if (i + 8 <= bytes.size()) {  // Most text is ASCII.
      uint64_t next;
      std::memcpy(&next, bytes.data() + i, 8);
      if ((next & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const Scan scan = ScanCharacter(bytes.substr(i));
    if (!scan.complete) return i;
    i += scan.bytes;
  }
  return std::nullopt;
}

bool StartsWithCharacter(absl::string_view text) { return ScanCharacter(text).complete; }

size_t CharacterBytes(char lead) {
  const uint8_t byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

char32_t CodePoint(absl::string_view text) {
  const size_t length = CharacterBytes(text[0]);
  if (length == 1) return static_cast<uint8_t>(text[0]);
  char32_t code_point = static_cast<uint8_t>(text[0]) & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    code_point = code_point << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
  }
  return code_point;
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto continuation = [&](int shift) {
    out->push_back(static_cast<char>(0x80 | (code_point >> shift & 0x3F)));
  };
  if (code_point < 0x80) {
    out->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out->push_back(static_cast<char>(0xC0 | code_point >> 6));
    continuation(0);
  } else if (code_point < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | code_point >> 12));
    continuation(6);
    continuation(0);
  } else {
    out->push_back(static_cast<char>(0xF0 | code_point >> 18));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

size_t AppendLossyUtf8(absl::string_view bytes, bool final, std::string* out) {
  size_t i = 0;
  while (i < bytes.size()) {
    const Scan scan = ScanCharacter(bytes.substr(i));
    if (scan.unfinished && !final) break;
    const absl::string_view text = scan.complete ? bytes.substr(i, scan.bytes) : kReplacement;
    out->append(text.data(), text.size());
    i += scan.bytes;
  }
  return i;
}

std::string LossyUtf8(absl::string_view bytes) {
  std::string text;
  AppendLossyUtf8(bytes, /*final=*/true, &text);
  return text;
}

}  // namespace retort
