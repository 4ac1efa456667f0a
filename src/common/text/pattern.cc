#include "common/text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/printable.h"

namespace retort::text {
namespace {

// Unicode's White_Space as the inside of a character class, and its complement.
constexpr absl::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr absl::string_view kNotSpaces =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kReproducibleMatchLimit = 250'000;  // An interpreted step may take microseconds.
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr uint32_t kParensNestLimit = 200;
constexpr size_t kJitStackBytes = 8 << 20;
constexpr size_t kJitStackStartBytes = 32 << 10;

// Replaces `\s` and `\S` by the classes above.
std::string ExplicitSpaces(absl::string_view source) {
  std::string out;
  bool in_class = false;
  bool quoted = false;     // Between \Q and \E.
  size_t class_begin = 0;  // Where a ']' would still be an ordinary character.
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '\\' && i + 1 < source.size()) {
      const char next = source[++i];
      if (next == 'Q') quoted = true;
      if (next == 'E') quoted = false;
      if (!quoted && (next == 's' || next == 'S')) {
        const absl::string_view set = next == 's' ? kSpaces : kNotSpaces;
        absl::StrAppend(&out, in_class ? "" : "[", set, in_class ? "" : "]");
      } else {
        absl::StrAppend(&out, source.substr(i - 1, 2));
      }
      continue;
    }
    out.push_back(c);
    if (quoted) continue;
    if (in_class && source.substr(i, 2) == "[:" &&
        source.find(":]", i) != absl::string_view::npos) {
      const size_t end = source.find(":]", i) + 2;  // A POSIX class: its ']' ends nothing.
      absl::StrAppend(&out, source.substr(i + 1, end - i - 1));
      i = end - 1;
    } else if (!in_class && c == '[') {
      in_class = true;
      class_begin = i + 1;
      if (class_begin < source.size() && source[class_begin] == '^') ++class_begin;
    } else if (in_class && c == ']' && i > class_begin) {
      in_class = false;
    }
  }
  return out;
}

// One per thread: PCRE2 allows a JIT stack to be used by one match at a time.
pcre2_jit_stack* ThreadJitStack(void*) {
  struct Owner {
    pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStartBytes, kJitStackBytes, nullptr);
    ~Owner() { pcre2_jit_stack_free(stack); }
  };
  thread_local Owner owner;
  return owner.stack;
}

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// One per thread: where a match is put. Every pattern has at least the one pair that it holds.
pcre2_match_data* ThreadMatchData() {
  struct Owner {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    ~Owner() { pcre2_match_data_free(data); }
  };
  thread_local Owner owner;
  RETORT_CHECK(owner.data != nullptr);
  return owner.data;
}

struct Counted {
  MatchBudget* budget;
  size_t at;  // Where the item before stood.
  int64_t steps_per_item;
};

// Before every item of the pattern: that and the characters that the one before ran over are paid.
int CountSteps(pcre2_callout_block* block, void* data) {
  auto* const counted = static_cast<Counted*>(data);
  const size_t before = std::exchange(counted->at, block->current_position);
  const size_t moved = std::max(before, counted->at) - std::min(before, counted->at);
  const auto steps = counted->steps_per_item + static_cast<int64_t>(moved);
  return counted->budget->Spend(steps) ? 0 : PCRE2_ERROR_CALLOUT;
}

// A repeat of a fixed count reads as many characters before it fails, which nothing tells.
int64_t StepsPerItem(absl::string_view source) {
  int64_t largest = 0;
  for (size_t at = source.find('{'); at != source.npos; at = source.find('{', at + 1)) {
    int64_t count = 0;
    for (size_t i = at + 1; i < source.size() && absl::ascii_isdigit(source[i]); ++i) {
      count = std::min<int64_t>(count * 10 + (source[i] - '0'), 65535);
    }
    largest = std::max(largest, count);
  }
  return 1 + largest / 32;
}

// One per thread: what a match may cost.
pcre2_match_context* ThreadMatchContext() {
  struct Owner {
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    ~Owner() { pcre2_match_context_free(context); }
  };
  thread_local Owner owner;
  RETORT_CHECK(owner.context != nullptr);
  return owner.context;
}

bool GaveUp(int result) {
  return result == PCRE2_ERROR_CALLOUT || result == PCRE2_ERROR_MATCHLIMIT ||
         result == PCRE2_ERROR_DEPTHLIMIT || result == PCRE2_ERROR_HEAPLIMIT ||
         result == PCRE2_ERROR_JIT_STACKLIMIT || result == PCRE2_ERROR_RECURSELOOP;
}

}  // namespace

struct Pattern::Code {
  ~Code() { pcre2_code_free(compiled); }
  pcre2_code* compiled = nullptr;
  uint32_t match_limit = kMatchLimit;
  int64_t steps_per_item = 1;
};

Pattern::Pattern(std::string source, std::shared_ptr<const Code> code)
    : source_(std::move(source)), code_(std::move(code)) {}

absl::StatusOr<Pattern> Pattern::Compile(absl::string_view source, PatternMatcher matcher) {
  if (source.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(absl::StrCat("pattern of ", source.size(), " bytes; at most ",
                                                   kMaxPatternBytes, " are allowed"));
  }
  const std::string expanded = ExplicitSpaces(source);
  auto code = std::make_shared<Code>();
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_parens_nest_limit(context, kParensNestLimit);
  int error = 0;
  size_t offset = 0;
  code->compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expanded.data()), expanded.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT, &error,
                    &offset, context);
  pcre2_compile_context_free(context);
  if (code->compiled == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("pattern \"", Printable(source, 200), "\": ", ErrorText(error), " before \"",
                     Printable(absl::string_view(expanded).substr(offset), 20), "\""));
  }
  // A host that forbids JIT interprets: the same matches, but the limits count other steps.
  if (matcher == PatternMatcher::kFast) pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE);
  if (matcher == PatternMatcher::kReproducible) code->match_limit = kReproducibleMatchLimit;
  code->steps_per_item = StepsPerItem(source);
  return Pattern(std::string(source), std::move(code));
}

absl::StatusOr<std::optional<MatchRange>> Pattern::Find(absl::string_view text, size_t from) const {
  MatchBudget budget(text.size());
  return Find(text, from, &budget);
}

absl::StatusOr<std::optional<MatchRange>> Pattern::Find(absl::string_view text, size_t from,
                                                        MatchBudget* budget) const {
  RETORT_CHECK(from <= text.size());
  Counted counted{budget, from, code_->steps_per_item};
  pcre2_match_context* const limits = ThreadMatchContext();
  pcre2_set_match_limit(limits, code_->match_limit);
  pcre2_set_depth_limit(limits, kDepthLimit);
  pcre2_set_heap_limit(limits, kHeapLimitKib);
  pcre2_jit_stack_assign(limits, ThreadJitStack, nullptr);
  pcre2_set_callout(limits, CountSteps, &counted);
  pcre2_match_data* const data = ThreadMatchData();
  const int result = pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                 text.size(), from, PCRE2_NO_UTF_CHECK, data, limits);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (GaveUp(result)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "pattern \"", Printable(source_, 200), "\" gave up at byte ", from, " of a text of ",
        text.size(), " bytes: ",
        result == PCRE2_ERROR_CALLOUT ? "too much work for the whole text" : ErrorText(result),
        "; use a pattern with less backtracking"));
  }
  if (result < 0) {
    return absl::InternalError(absl::StrCat("pattern \"", Printable(source_, 200), "\" at byte ",
                                            from, ": ", ErrorText(result)));
  }
  const size_t* range = pcre2_get_ovector_pointer(data);
  return MatchRange{range[0], range[1]};
}

}  // namespace retort::text
