// Filters that make text.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "common/text/jinja/arithmetic.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/percent_format.h"
#include "common/text/jinja/print.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

template <std::string (*transform)(absl::string_view)>
Value Transform(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("the filter", arguments);
  const std::string text = ToText(runtime, self);
  return runtime.String(transform(text), self.IsString() && self.As<StringObject>()->markup);
}

// The filter `title`: words begin behind "-", whitespace and an opening bracket.
std::string TitleWords(absl::string_view text) {
  std::string out;
  size_t begin = 0;
  const auto flush = [&](size_t end) {
    if (end == begin) return;
    const size_t first = CharacterBytes(text[begin]);
    absl::StrAppend(&out, Upper(text.substr(begin, first)),
                    Lower(text.substr(begin + first, end - begin - first)));
    begin = end;
  };
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharacterBytes(text[at]);
    const char32_t c = CodePoint(text.substr(at));
    const bool boundary =
        c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsPythonSpace(c);
    if (boundary) {
      flush(at);
      absl::StrAppend(&out, text.substr(at, bytes));
      begin = at + bytes;
    }
    at += bytes;
  }
  flush(text.size());
  return out;
}

Value Trim(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("trim", arguments, {"chars"});
  const std::string text = ToText(runtime, self);
  const bool markup = self.IsString() && self.As<StringObject>()->markup;
  if (bound.IsNone(0)) return runtime.String(std::string(StripLeft(StripRight(text))), markup);
  const absl::string_view chars = bound.Text(0, "");
  ChargeStrip(runtime, text, chars);
  return runtime.String(std::string(StripLeft(StripRight(text, chars), chars)), markup);
}

Value Replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  const int64_t count = bound.IsNone(2) ? -1 : bound.Int(2, -1);
  return ReplaceText(runtime, ToText(runtime, self), ToText(runtime, bound.At(0)),
                     ToText(runtime, bound.At(1)), count);
}

Value String(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("string", arguments);
  return self.IsString() ? self : runtime.String(ToText(runtime, self));
}

Value Safe(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("safe", arguments);
  return runtime.String(ToText(runtime, self), /*markup=*/true);
}

Value Escape(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("escape", arguments);
  return EscapeMarkup(runtime, self);
}

Value ForceEscape(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("forceescape", arguments);
  return EscapeMarkup(runtime, runtime.String(ToText(runtime, self)));
}

Value Indent(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"});
  if (!self.IsString()) {
    RequireDefined(self);
    Fail(absl::StrCat("indent needs a string, not ", TypeName(self)));
  }
  std::string indent;
  if (bound.Find(0) != nullptr && bound.At(0).IsString()) {
    indent = bound.At(0).text();
  } else {
    const int64_t width = std::max<int64_t>(bound.Int(0, 4), 0);
    runtime.ChargeBytes(static_cast<size_t>(width));
    indent = std::string(static_cast<size_t>(width), ' ');
  }
  const bool blank = bound.Flag(2, false);
  // With the newline that Jinja puts behind it, a text that ends in one keeps it.
  const std::string text = self.text() + "\n";
  std::string out = bound.Flag(1, false) ? indent : "";
  bool first = true;
  for (const absl::string_view line : SplitLines(text, /*keep_ends=*/false)) {
    runtime.ChargeBytes(indent.size() + line.size());
    if (!std::exchange(first, false)) {
      absl::StrAppend(&out, "\n", blank || !line.empty() ? indent : "");
    }
    absl::StrAppend(&out, line);
  }
  return runtime.String(std::move(out), self.As<StringObject>()->markup);
}

Value Center(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("center", arguments, {"width"});
  const Value text = runtime.String(ToText(runtime, self));
  return FindIn(StringMethods(), "center")(runtime, text, {{Value::Int(bound.Int(0, 80))}, {}});
}

Value Format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    Fail("format takes positional or named arguments, not both");
  }
  const Value format = runtime.String(ToText(runtime, self));
  if (arguments.keyword.empty()) {
    return PercentFormat(runtime, format, runtime.Tuple(arguments.positional));
  }
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, value] : arguments.keyword) {
    entries.emplace_back(runtime.String(name), value);
  }
  return PercentFormat(runtime, format, runtime.Dict(std::move(entries)));
}

Value WordCount(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("wordcount", arguments);
  const std::string text = ToText(runtime, self);
  int64_t count = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.size(); at += CharacterBytes(text[at])) {
    const bool word = IsWordCharacter(CodePoint(absl::string_view(text).substr(at)));
    if (word && !in_word) ++count;
    in_word = word;
  }
  return Value::Int(count);
}

Value Truncate(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Value text = self.IsString() ? self : runtime.String(ToText(runtime, self));
  const int64_t length = bound.Int(0, 255);
  const absl::string_view end = bound.Text(2, "...");
  runtime.ChargeBytes(text.text().size() + end.size());
  const int64_t end_length = StringObject(std::string(end)).length;
  const int64_t leeway = bound.IsNone(3) ? 5 : bound.Int(3, 5);
  if (length < end_length) Fail("truncate: the length is less than that of the end");
  if (leeway < 0) Fail("truncate: the leeway is negative");
  if (text.As<StringObject>()->length - leeway <= length) return text;
  std::string cut = text.text().substr(0, ByteOfCodePoint(text.text(), length - end_length));
  const size_t space = cut.rfind(' ');
  if (!bound.Flag(1, false) && space != std::string::npos) cut.resize(space);
  return runtime.String(absl::StrCat(cut, end));
}

Value JsonText(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.Flag(0, false);
  if (!bound.IsNone(1)) {
    style.multiline = true;
    style.item_separator.assign(1, ',');  // Not = ",": GCC 12 warns of an overlap there.
    if (bound.At(1).IsString()) {
      style.indent = bound.At(1).text();
    } else {
      const int64_t width = std::max<int64_t>(bound.Int(1, 0), 0);
      runtime.ChargeBytes(static_cast<size_t>(width));
      style.indent = std::string(static_cast<size_t>(width), ' ');
    }
  }
  if (!bound.IsNone(2)) {
    const std::vector<Value> pair = Iterate(runtime, bound.At(2));
    if (pair.size() != 2 || !pair[0].IsString() || !pair[1].IsString()) {
      Fail("tojson: argument \"separators\" is not a pair of strings");
    }
    style.item_separator = pair[0].text();
    style.key_separator = pair[1].text();
  }
  style.sort_keys = bound.Flag(3, false);
  std::string json = ToJson(runtime, self, style);
  return runtime.String(std::move(json));
}

}  // namespace

absl::Span<const NamedBuiltin> TextFilters() {
  static constexpr NamedBuiltin kFilters[] = {
      {"upper", Transform<Upper>},
      {"lower", Transform<Lower>},
      {"title", Transform<TitleWords>},
      {"capitalize", Transform<Capitalize>},
      {"trim", Trim},
      {"replace", Replace},
      {"string", String},
      {"safe", Safe},
      {"escape", Escape},
      {"e", Escape},
      {"forceescape", ForceEscape},
      {"indent", Indent},
      {"center", Center},
      {"format", Format},
      {"wordcount", WordCount},
      {"truncate", Truncate},
      {"tojson", JsonText},
  };
  return kFilters;
}

}  // namespace retort::text::jinja
