// Regular expressions from outside, under limits: PCRE2 with UTF, Unicode properties and JIT. The
// one place that includes pcre2.h.
#pragma once

#include <cstddef>
#include <cstdint>
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

// The steps of matching that are left for a text: its Finds share them, so that a pattern whose
// work grows with the square of the text ends. They count alike on every host. Not thread-safe.
class MatchBudget {
 public:
  explicit MatchBudget(size_t text_bytes)
      : left_(kStepsAtLeast + kStepsPerByte * static_cast<int64_t>(text_bytes)) {}

  // Whether there is something left.
  bool Spend(int64_t steps) {
    left_ -= steps;
    return left_ >= 0;
  }

 private:
  static constexpr int64_t kStepsAtLeast = 10'000'000;
  static constexpr int64_t kStepsPerByte = 1'000;

  int64_t left_;
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
  // matching (steps, the budget, depth, heap, the fast matcher's stack) is hit; INTERNAL for what
  // else PCRE2 says.
  absl::StatusOr<std::optional<MatchRange>> Find(absl::string_view text, size_t from,
                                                 MatchBudget* budget) const;
  // With a budget of its own.
  absl::StatusOr<std::optional<MatchRange>> Find(absl::string_view text, size_t from) const;

  const std::string& source() const { return source_; }

 private:
  struct Code;
  Pattern(std::string source, std::shared_ptr<const Code> code);

  std::string source_;
  std::shared_ptr<const Code> code_;
};

}  // namespace retort::text
