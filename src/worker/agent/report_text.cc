#include "worker/agent/report_text.h"

#include <cstdint>

namespace retort::worker {
namespace {

bool IsContinuation(absl::string_view text, size_t at) {
  return at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80;
}

// Bytes of the well-formed character that starts at `at` (Unicode 15, table 3-7), or 0.
size_t CharacterBytes(absl::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return 1;
  const auto second = at + 1 < text.size() ? static_cast<uint8_t>(text[at + 1]) : uint8_t{0};
  if (first < 0xC2 || first > 0xF4 || !IsContinuation(text, at + 1)) return 0;
  if (first < 0xE0) return 2;
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if (!IsContinuation(text, at + 2)) return 0;
  if (first < 0xF0) return 3;
  if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return IsContinuation(text, at + 3) ? 4 : 0;
}

}  // namespace

std::string ReportText(absl::string_view text, size_t max_bytes) {
  std::string valid;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharacterBytes(text, at);
    const absl::string_view character = bytes == 0 ? "?" : text.substr(at, bytes);
    if (valid.size() + character.size() > max_bytes) break;
    valid.append(character.data(), character.size());
    at += bytes == 0 ? 1 : bytes;
  }
  return valid;
}

}  // namespace retort::worker
