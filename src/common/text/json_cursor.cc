#include "common/text/json_cursor.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace retort::text {
namespace {

constexpr char kNotJson[] = "not valid JSON";

// Bytes that end the plain part of a string.
constexpr std::array<bool, 256> MakeStops() {
  std::array<bool, 256> stops{};
  for (int c = 0; c < 0x20; ++c) stops[c] = true;
  stops['"'] = stops['\\'] = true;
  return stops;
}
constexpr std::array<bool, 256> kStops = MakeStops();

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool JsonCursor::Fail(const char* problem) {
  if (problem_ == nullptr) problem_ = problem;
  return false;
}

std::string JsonCursor::error() const {
  return absl::StrCat(problem_ == nullptr ? "" : problem_, " at byte ", offset_ + at_);
}

char JsonCursor::Peek() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
    ++at_;
  }
  return 0;
}

bool JsonCursor::Take(char c) {
  if (!ok() || Peek() != c || at_ >= text_.size()) return Fail(kNotJson);
  ++at_;
  return true;
}

bool JsonCursor::String(absl::string_view* out) {
  if (!Take('"')) return false;
  size_t begin = at_;
  bool escaped = false;
  while (true) {
    while (at_ < text_.size() && !kStops[static_cast<unsigned char>(text_[at_])]) ++at_;
    if (at_ >= text_.size()) return Fail(kNotJson);
    const absl::string_view plain = text_.substr(begin, at_ - begin);
    if (text_[at_] == '"') {
      ++at_;
      if (escaped) unescaped_.append(plain.data(), plain.size());
      *out = escaped ? absl::string_view(unescaped_) : plain;
      return true;
    }
    if (text_[at_] != '\\') return Fail(kNotJson);
    if (!escaped) unescaped_.clear();
    escaped = true;
    unescaped_.append(plain.data(), plain.size());
    if (!Unescape()) return false;
    begin = at_;
  }
}

// At a backslash.
bool JsonCursor::Unescape() {
  if (at_ + 1 >= text_.size()) return Fail(kNotJson);
  const char kind = text_[at_ + 1];
  if (kind == 'u') return UnescapeUnicode();
  constexpr absl::string_view kKinds = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
  const size_t index = kKinds.find(kind);
  if (index == kKinds.npos) return Fail(kNotJson);
  unescaped_.push_back(kMeaning[index]);
  at_ += 2;
  return true;
}

bool JsonCursor::UnescapeUnicode() {
  char32_t unit = 0;
  if (!Hex4(&unit)) return false;
  if (unit >= 0xDC00 && unit <= 0xDFFF) return Fail("half of a surrogate pair");
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    char32_t low = 0;
    if (!absl::StartsWith(text_.substr(at_), "\\u")) return Fail("half of a surrogate pair");
    if (!Hex4(&low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return Fail("half of a surrogate pair");
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }
  AppendUtf8(unit, &unescaped_);
  return true;
}

// \uXXXX at the current byte.
bool JsonCursor::Hex4(char32_t* unit) {
  const absl::string_view digits = text_.substr(at_ + 2, 4);
  if (digits.size() < 4) return Fail(kNotJson);
  for (const char c : digits) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return Fail(kNotJson);
    *unit = *unit * 16 + (IsDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  at_ += 6;
  return true;
}

bool JsonCursor::Literal(absl::string_view word) {
  if (text_.substr(at_, word.size()) != word) return Fail(kNotJson);
  at_ += word.size();
  return true;
}

bool JsonCursor::Number() {
  const auto digits = [&] {
    const size_t begin = at_;
    while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
    return at_ > begin;
  };
  const auto take = [&](absl::string_view any) {
    if (at_ >= text_.size() || !absl::StrContains(any, text_[at_])) return false;
    ++at_;
    return true;
  };
  take("-");
  if (!take("0") && !digits()) return Fail(kNotJson);
  if (take(".") && !digits()) return Fail(kNotJson);
  if (take("eE")) {
    take("+-");
    if (!digits()) return Fail(kNotJson);
  }
  return true;
}

bool JsonCursor::More(char close, bool* first) {
  if (!ok()) return false;
  if (Peek() == close) {
    ++at_;
    return false;
  }
  if (!*first && !Take(',')) return false;
  if (!*first && Peek() == close) return Fail(kNotJson);
  *first = false;
  return true;
}

bool JsonCursor::End() {
  Peek();
  return ok() && (at_ == text_.size() || Fail(kNotJson));
}

bool JsonCursor::Skip(absl::string_view* raw) {
  Peek();
  const size_t begin = at_;
  if (!ok() || !SkipValue(0)) return false;
  if (raw != nullptr) *raw = text_.substr(begin, at_ - begin);
  return true;
}

bool JsonCursor::SkipValue(int depth) {
  if (depth > kMaxDepth) return Fail("nested deeper than 64 levels");
  absl::string_view ignored;
  bool first = true;
  switch (Peek()) {
    case '{':
      ++at_;
      while (More('}', &first)) {
        if (!String(&ignored) || !Take(':') || !SkipValue(depth + 1)) return false;
      }
      return ok();
    case '[':
      ++at_;
      while (More(']', &first)) {
        if (!SkipValue(depth + 1)) return false;
      }
      return ok();
    case '"':
      return String(&ignored);
    case 't':
      return Literal("true");
    case 'f':
      return Literal("false");
    case 'n':
      return Literal("null");
    default:
      return Number();
  }
}

}  // namespace retort::text
