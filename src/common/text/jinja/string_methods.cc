// Methods of strings that return a string, a number or a bool.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "common/text/jinja/arithmetic.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/percent_format.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

// A method of markup escapes its arguments in Python; only those without arguments are here.
void RefuseMarkup(const Value& self, absl::string_view name) {
  if (self.As<StringObject>()->markup) {
    Refuse(absl::StrCat("method \"", name, "\" of escaped text is not supported"));
  }
}

template <std::string (*transform)(absl::string_view)>
Value Transform(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("the method", arguments);
  runtime.ChargeBytes(self.text().size());
  return runtime.String(transform(self.text()), self.As<StringObject>()->markup);
}

template <bool (*predicate)(absl::string_view)>
Value Predicate(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("the method", arguments);
  runtime.ChargeBytes(self.text().size());
  return Value::Bool(predicate(self.text()));
}

template <bool left, bool right>
Value Strip(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound(left && right ? "strip" : left ? "lstrip" : "rstrip", arguments, {"chars"});
  runtime.ChargeBytes(self.text().size());
  absl::string_view text = self.text();
  if (bound.IsNone(0)) {
    if (left) text = StripLeft(text);
    if (right) text = StripRight(text);
  } else {
    const absl::string_view chars = bound.Text(0, "");
    ChargeStrip(runtime, text, chars);
    if (left) text = StripLeft(text, chars);
    if (right) text = StripRight(text, chars);
  }
  return runtime.String(std::string(text), self.As<StringObject>()->markup);
}

// The part of `self` between the code points that the arguments `start` and `end` name, and where
// it begins.
struct Window {
  absl::string_view text;
  int64_t start;  // In code points.
  bool empty_range;
};

Window WindowOf(const Value& self, const Bound& bound, size_t start_at, size_t end_at) {
  const int64_t length = self.As<StringObject>()->length;
  const auto clamp = [length](int64_t at) {
    return std::max<int64_t>(at < 0 ? at + length : at, 0);
  };
  const int64_t start = clamp(bound.IsNone(start_at) ? 0 : bound.Int(start_at, 0));
  const int64_t end =
      std::min(clamp(bound.IsNone(end_at) ? length : bound.Int(end_at, length)), length);
  if (start > end) return {"", start, true};
  const size_t first = ByteOfCodePoint(self.text(), start);
  const absl::string_view rest = absl::string_view(self.text()).substr(first);
  return {rest.substr(0, ByteOfCodePoint(rest, end - start)), start, false};
}

template <bool at_start>
Value Affix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const absl::string_view name = at_start ? "startswith" : "endswith";
  const Bound bound(name, arguments, {"affix", "start", "end"}, 1);
  runtime.ChargeBytes(self.text().size());
  const Window window = WindowOf(self, bound, 1, 2);
  const auto matches = [&](const Value& affix) {
    runtime.Charge();
    if (!affix.IsString()) {
      RequireDefined(affix);
      Fail(absl::StrCat(name, " needs a string or a tuple of strings, not ", TypeName(affix)));
    }
    return !window.empty_range && (at_start ? absl::StartsWith(window.text, affix.text())
                                            : absl::EndsWith(window.text, affix.text()));
  };
  if (!bound.At(0).Is(Kind::kTuple)) return Value::Bool(matches(bound.At(0)));
  const auto& items = bound.At(0).As<SequenceObject>()->items;
  return Value::Bool(std::any_of(items.begin(), items.end(), matches));
}

int64_t CodePointsIn(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

template <bool from_right, bool must>
Value Find(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("find", arguments, {"text", "start", "end"}, 1);
  runtime.ChargeBytes(self.text().size());
  const absl::string_view needle = bound.Text(0, "");
  const Window window = WindowOf(self, bound, 1, 2);
  const size_t at = window.empty_range ? absl::string_view::npos
                    : from_right       ? FindLastText(window.text, needle)
                                       : FindText(window.text, needle);
  if (at == absl::string_view::npos) {
    if (must) Fail("index: the text does not occur");
    return Value::Int(-1);
  }
  return Value::Int(window.start + CodePointsIn(window.text.substr(0, at)));
}

Value Count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("count", arguments, {"text", "start", "end"}, 1);
  runtime.ChargeBytes(self.text().size());
  const absl::string_view needle = bound.Text(0, "");
  const Window window = WindowOf(self, bound, 1, 2);
  if (window.empty_range) return Value::Int(0);
  if (needle.empty()) return Value::Int(CodePointsIn(window.text) + 1);
  int64_t count = 0;
  absl::string_view rest = window.text;
  for (size_t at = FindText(rest, needle); at != rest.npos; at = FindText(rest, needle)) {
    rest.remove_prefix(at + needle.size());
    ++count;
  }
  return Value::Int(count);
}

Value Replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RefuseMarkup(self, "replace");
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  return ReplaceText(runtime, self.text(), bound.Text(0, ""), bound.Text(1, ""), bound.Int(2, -1));
}

Value Join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RefuseMarkup(self, "join");
  const Bound bound("join", arguments, {"iterable"}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(runtime, bound.At(0))) {
    if (!item.IsString()) {
      RequireDefined(item);
      Fail(absl::StrCat("join needs strings, not ", TypeName(item)));
    }
    if (!std::exchange(first, false)) out += self.text();
    out += item.text();
    runtime.ChargeBytes(item.text().size() + self.text().size());
  }
  return runtime.String(std::move(out));
}

Value Format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RefuseMarkup(self, "format");
  return BraceFormat(runtime, self, arguments);
}

enum class Side { kLeft, kRight, kBoth };

template <Side side>
Value Justify(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("the method", arguments, {"width", "fillchar"}, 1);
  const std::string fill(bound.Text(1, " "));
  if (StringObject(fill).length != 1) Fail("the fill character must be one character");
  const int64_t width = bound.Int(0, 0);
  const int64_t pad = width - self.As<StringObject>()->length;
  if (pad <= 0) return runtime.String(self.text());
  runtime.ChargeBytes(static_cast<size_t>(pad));  // Before the product, which may overflow.
  runtime.ChargeBytes(static_cast<size_t>(pad) * fill.size());
  const int64_t before = side == Side::kLeft    ? 0
                         : side == Side::kRight ? pad
                                                : pad / 2 + (pad & width & 1);
  std::string out;
  for (int64_t i = 0; i < before; ++i) out += fill;
  out += self.text();
  for (int64_t i = before; i < pad; ++i) out += fill;
  return runtime.String(std::move(out));
}

Value ZeroFill(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("zfill", arguments, {"width"}, 1);
  const int64_t pad = bound.Int(0, 0) - self.As<StringObject>()->length;
  if (pad <= 0) return runtime.String(self.text());
  runtime.ChargeBytes(static_cast<size_t>(pad));
  const size_t sign = absl::StartsWith(self.text(), "-") || absl::StartsWith(self.text(), "+");
  return runtime.String(absl::StrCat(self.text().substr(0, sign),
                                     std::string(static_cast<size_t>(pad), '0'),
                                     self.text().substr(sign)));
}

template <bool at_start>
Value RemoveAffix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound(at_start ? "removeprefix" : "removesuffix", arguments, {"affix"}, 1);
  const absl::string_view affix = bound.Text(0, "");
  absl::string_view text = self.text();
  if (at_start && absl::StartsWith(text, affix)) text.remove_prefix(affix.size());
  if (!at_start && absl::EndsWith(text, affix)) text.remove_suffix(affix.size());
  return runtime.String(std::string(text));
}

}  // namespace

void ChargeStrip(Runtime& runtime, absl::string_view text, absl::string_view chars) {
  runtime.ChargeBytes(text.size() * (1 + chars.size() / 32));
}

Value ReplaceText(Runtime& runtime, absl::string_view text, absl::string_view from,
                  absl::string_view to, int64_t count) {
  std::string out;
  while (count != 0) {
    // An empty `from` stands before every character and at the end.
    const size_t at = FindText(text, from);
    if (at == text.npos) break;
    runtime.ChargeBytes(at + to.size());
    absl::StrAppend(&out, text.substr(0, at), to);
    text.remove_prefix(at + from.size());
    if (count > 0) --count;
    if (!from.empty()) continue;
    if (text.empty()) break;
    const size_t bytes = CharacterBytes(text[0]);
    absl::StrAppend(&out, text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  absl::StrAppend(&out, text);
  return runtime.String(std::move(out));
}

absl::Span<const NamedBuiltin> StringMethods() {
  static constexpr NamedBuiltin kMethods[] = {
      {"upper", Transform<Upper>},
      {"lower", Transform<Lower>},
      {"title", Transform<Title>},
      {"capitalize", Transform<Capitalize>},
      {"swapcase", Transform<SwapCase>},
      {"isupper", Predicate<IsUpper>},
      {"islower", Predicate<IsLower>},
      {"istitle", Predicate<IsTitle>},
      {"isalpha", Predicate<IsAlpha>},
      {"isalnum", Predicate<IsAlnum>},
      {"isdecimal", Predicate<IsDecimal>},
      {"isdigit", Predicate<IsDigit>},
      {"isnumeric", Predicate<IsNumeric>},
      {"isspace", Predicate<IsSpace>},
      {"isascii", Predicate<IsAscii>},
      {"strip", Strip<true, true>},
      {"lstrip", Strip<true, false>},
      {"rstrip", Strip<false, true>},
      {"startswith", Affix<true>},
      {"endswith", Affix<false>},
      {"find", Find<false, false>},
      {"rfind", Find<true, false>},
      {"index", Find<false, true>},
      {"rindex", Find<true, true>},
      {"count", Count},
      {"replace", Replace},
      {"join", Join},
      {"format", Format},
      {"ljust", Justify<Side::kLeft>},
      {"rjust", Justify<Side::kRight>},
      {"center", Justify<Side::kBoth>},
      {"zfill", ZeroFill},
      {"removeprefix", RemoveAffix<true>},
      {"removesuffix", RemoveAffix<false>},
  };
  return kMethods;
}

}  // namespace retort::text::jinja
