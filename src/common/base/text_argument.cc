#include "common/base/text_argument.h"

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace retort {
namespace {

constexpr int64_t kMaxInputBytes = 64 << 20;

}  // namespace

absl::StatusOr<std::string> TextArgument(const std::string& argument, bool replace_invalid_utf8) {
  std::string text = argument;
  if (argument == "-") {
    absl::StatusOr<std::string> input = ReadFile("/dev/stdin", kMaxInputBytes);
    if (!input.ok()) return WithContext(input.status(), "standard input");
    text = *std::move(input);
  }
  return replace_invalid_utf8 ? LossyUtf8(text) : text;
}

}  // namespace retort
