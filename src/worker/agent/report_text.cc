#include "worker/agent/report_text.h"

#include "common/base/utf8.h"

namespace retort::worker {

std::string ReportText(absl::string_view text, size_t max_bytes) {
  std::string valid;
  while (!text.empty()) {
    const bool whole = StartsWithCharacter(text);
    const absl::string_view character = whole ? text.substr(0, CharacterBytes(text[0])) : "?";
    if (valid.size() + character.size() > max_bytes) break;
    valid.append(character.data(), character.size());
    text.remove_prefix(whole ? character.size() : 1);
  }
  return valid;
}

}  // namespace retort::worker
