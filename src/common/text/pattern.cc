#include "common/text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <utility>

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

bool GaveUp(int result) {
  return result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_DEPTHLIMIT ||
         result == PCRE2_ERROR_HEAPLIMIT || result == PCRE2_ERROR_JIT_STACKLIMIT ||
         result == PCRE2_ERROR_RECURSELOOP;
}

}  // namespace

struct Pattern::Code {
  ~Code() {
    pcre2_match_context_free(limits);
    pcre2_code_free(compiled);
  }
  pcre2_code* compiled = nullptr;
  pcre2_match_context* limits = nullptr;
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
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code->compiled == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("pattern \"", Printable(source, 200), "\": ", ErrorText(error), " before \"",
                     Printable(absl::string_view(expanded).substr(offset), 20), "\""));
  }
  // A host that forbids JIT interprets: the same matches, but the limits count other steps.
  if (matcher == PatternMatcher::kFast) pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE);
  code->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code->limits,
                        matcher == PatternMatcher::kFast ? kMatchLimit : kReproducibleMatchLimit);
  pcre2_set_depth_limit(code->limits, kDepthLimit);
  pcre2_set_heap_limit(code->limits, kHeapLimitKib);
  pcre2_jit_stack_assign(code->limits, ThreadJitStack, nullptr);
  return Pattern(std::string(source), std::move(code));
}

absl::StatusOr<std::optional<MatchRange>> Pattern::Find(absl::string_view text, size_t from) const {
  RETORT_CHECK(from <= text.size());
  pcre2_match_data* const data = ThreadMatchData();
  const int result = pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                 text.size(), from, PCRE2_NO_UTF_CHECK, data, code_->limits);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (GaveUp(result)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "pattern \"", Printable(source_, 200), "\" gave up at byte ", from, " of a text of ",
        text.size(), " bytes: ", ErrorText(result), "; use a pattern with less backtracking"));
  }
  if (result < 0) {
    return absl::InternalError(absl::StrCat("pattern \"", Printable(source_, 200), "\" at byte ",
                                            from, ": ", ErrorText(result)));
  }
  const size_t* range = pcre2_get_ovector_pointer(data);
  return MatchRange{range[0], range[1]};
}

}  // namespace retort::text
