// Regular expressions from outside, under limits: PCRE2 with UTF, Unicode properties and JIT. The
// one place that includes pcre2.h.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::text {

struct MatchRange {
  size_t begin = 0;  // Bytes.
  size_t end = 0;
};

enum class PatternMatcher {
  kFast,          // Compiled to machine code where the host allows it.
  kReproducible,  // Interpreted: where it gives up depends on pattern and text alone, on any host.
};

// Immutable after Compile, so safe from any thread.
class Pattern {
 public:
  static constexpr size_t kMaxPatternBytes = 64 << 10;

  // `\s` and `\S` mean the 25 White_Space characters and their complement, in classes too (PCRE2's
  // own `\s` also holds U+180E). Errors: INVALID_ARGUMENT with PCRE2's message and the byte in
  // `source`.
  static absl::StatusOr<Pattern> Compile(absl::string_view source,
                                         PatternMatcher matcher = PatternMatcher::kFast);

  // The first match at or after byte `from`, nullopt if there is none. `text` must be valid UTF-8
  // and `from` at a character's first byte. RESOURCE_EXHAUSTED naming `from` when a limit of
  // matching (steps, depth, heap, the fast matcher's stack) is hit; INTERNAL for what else PCRE2
  // says.
  absl::StatusOr<std::optional<MatchRange>> Find(absl::string_view text, size_t from) const;

  const std::string& source() const { return source_; }

 private:
  struct Code;
  Pattern(std::string source, std::shared_ptr<const Code> code);

  std::string source_;
  std::shared_ptr<const Code> code_;
};

}  // namespace retort::text
