#include "common/text/jinja/percent_format.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/print.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

constexpr int kMaxWidth = 10'000;

// Flags, width and precision between % and the letter.
struct Spec {
  std::string flags;
  int width = 0;
  int precision = -1;
  char letter = '\0';
};

class Formatter {
 public:
  Formatter(Runtime& runtime, const Value& values) : runtime_(runtime), values_(values) {}

  std::string Run(absl::string_view format) {
    runtime_.ChargeBytes(format.size());
    std::string out;
    while (!format.empty()) {
      const size_t percent = format.find('%');
      absl::StrAppend(&out, format.substr(0, percent));
      if (percent == format.npos) break;
      format.remove_prefix(percent + 1);
      out += One(&format);
      runtime_.ChargeBytes(out.size() / 8);
    }
    if (!used_mapping_ && next_ < Count()) Fail("\"%\": not all values are used by the format");
    return out;
  }

 private:
  size_t Count() const {
    if (values_.Is(Kind::kTuple)) return values_.As<SequenceObject>()->items.size();
    const bool mapping =
        values_.Is(Kind::kDict) || values_.Is(Kind::kList) || values_.IsUndefined();
    return mapping ? next_ : 1;  // Python: what has items need not be used up.
  }

  Value Take() {
    const bool tuple = values_.Is(Kind::kTuple);
    if (next_ >= (tuple ? values_.As<SequenceObject>()->items.size() : 1)) {
      Fail("\"%\": the format needs more values");
    }
    return tuple ? values_.As<SequenceObject>()->items[next_++] : (++next_, values_);
  }

  Value Named(absl::string_view* rest) {
    const size_t close = rest->find(')');
    if (close == rest->npos) Fail("\"%(\" is not closed");
    if (!values_.Is(Kind::kDict)) Fail("\"%(name)s\" needs a dict");
    used_mapping_ = true;
    const absl::string_view key = rest->substr(1, close - 1);
    const Value* const value = FindKey(runtime_, *values_.As<DictObject>(), key);
    if (value == nullptr) Fail(absl::StrCat("\"%\": no value for \"", Printable(key), "\""));
    rest->remove_prefix(close + 1);
    return *value;
  }

  static int Number(absl::string_view* rest) {
    int number = 0;
    while (!rest->empty() && absl::ascii_isdigit((*rest)[0])) {
      number = number * 10 + ((*rest)[0] - '0');
      if (number > kMaxWidth) Refuse("a width beyond 10000 in a format is not supported");
      rest->remove_prefix(1);
    }
    return number;
  }

  std::string One(absl::string_view* rest) {
    if (!rest->empty() && (*rest)[0] == '%') {
      rest->remove_prefix(1);
      return "%";
    }
    const bool named = !rest->empty() && (*rest)[0] == '(';
    Value value;
    if (named) value = Named(rest);
    Spec spec;
    while (!rest->empty() && absl::string_view("-+ 0#").find((*rest)[0]) != rest->npos) {
      spec.flags += (*rest)[0];
      rest->remove_prefix(1);
    }
    spec.width = Number(rest);
    if (!rest->empty() && (*rest)[0] == '.') {
      rest->remove_prefix(1);
      spec.precision = Number(rest);
    }
    if (rest->empty()) Fail("the format ends behind a \"%\"");
    spec.letter = (*rest)[0];
    rest->remove_prefix(1);
    if (!named) value = Take();
    return Convert(spec, value);
  }

  std::string Convert(const Spec& spec, const Value& value) {
    switch (spec.letter) {
      case 's':
      case 'r':
      case 'c':
        return Text(spec, value);
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return Integer(spec, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return Real(spec, value);
      default:
        Refuse(absl::StrCat("format \"%", Printable(std::string(1, spec.letter)),
                            "\" is not supported"));
    }
  }

  std::string Text(const Spec& spec, const Value& value) {
    std::string text = spec.letter == 'r' ? Repr(runtime_, value) : ToText(runtime_, value);
    if (spec.letter == 'c' && value.IsIntegral()) {
      text.clear();
      if (value.int_value() < 0 || value.int_value() > 0xD7FF) Fail("\"%c\": no such character");
      AppendUtf8(static_cast<char32_t>(value.int_value()), &text);
    }
    if (spec.precision >= 0) text.resize(ByteOfCodePoint(text, spec.precision));
    const StringObject counted(text);
    if (counted.length >= spec.width) return text;
    const std::string pad(static_cast<size_t>(spec.width - counted.length), ' ');
    const bool left = spec.flags.find('-') != std::string::npos;
    return left ? text + pad : pad + text;
  }

  std::string Integer(const Spec& spec, const Value& value) {
    int64_t number = 0;
    if (value.IsIntegral()) {
      number = value.int_value();
    } else if (value.Is(Kind::kFloat) &&
               absl::string_view("diu").find(spec.letter) != absl::string_view::npos &&
               value.float_value() > -9e18 && value.float_value() < 9e18) {
      number = static_cast<int64_t>(value.float_value());
    } else {
      RequireDefined(value);
      Fail(absl::StrCat("\"%", std::string(1, spec.letter), "\" does not work on ",
                        TypeName(value)));
    }
    const bool decimal = absl::string_view("diu").find(spec.letter) != absl::string_view::npos;
    if (!decimal && number < 0) Refuse("\"%x\" and \"%o\" of a negative number is not supported");
    return Printf(spec, decimal ? "lld" : std::string("ll") + spec.letter,
                  static_cast<long long>(number));
  }

  std::string Real(const Spec& spec, const Value& value) {
    if (!value.IsIntegral() && !value.Is(Kind::kFloat)) {
      RequireDefined(value);
      Fail(absl::StrCat("\"%", std::string(1, spec.letter), "\" does not work on ",
                        TypeName(value)));
    }
    const double number =
        value.Is(Kind::kFloat) ? value.float_value() : static_cast<double>(value.int_value());
    return Printf(spec, std::string(1, spec.letter), number);
  }

  template <typename T>
  std::string Printf(const Spec& spec, const std::string& conversion, T number) {
    std::string format = absl::StrCat("%", spec.flags, spec.width == 0 ? "" : "*");
    if (spec.precision >= 0) format += ".*";
    format += conversion;
    std::string out(static_cast<size_t>(spec.width + std::max(spec.precision, 0) + 400), '\0');
    const auto print = [&](auto... widths) {
      return std::snprintf(out.data(), out.size(), format.c_str(), widths..., number);
    };
    const int bytes = spec.width == 0      ? (spec.precision < 0 ? print() : print(spec.precision))
                      : spec.precision < 0 ? print(spec.width)
                                           : print(spec.width, spec.precision);
    out.resize(static_cast<size_t>(std::max(bytes, 0)));
    return out;
  }

  Runtime& runtime_;
  const Value& values_;
  size_t next_ = 0;
  bool used_mapping_ = false;
};

// The value of {field}; `next` counts those without a name.
const Value& FieldValue(absl::string_view field, const Arguments& arguments, size_t* next) {
  if (field.find_first_of("{:!.[") != field.npos) {
    Refuse(absl::StrCat("format field \"{", Printable(field), "}\" is not supported"));
  }
  size_t index = *next;
  if (field.empty() || absl::SimpleAtoi(field, &index)) {
    if (field.empty()) ++*next;
    if (index < arguments.positional.size()) return arguments.positional[index];
  }
  for (const auto& [name, value] : arguments.keyword) {
    if (name == field) return value;
  }
  Fail(absl::StrCat("format: no value for {", Printable(field), "}"));
}

}  // namespace

Value PercentFormat(Runtime& runtime, const Value& format, const Value& values) {
  Formatter formatter(runtime, values);
  return runtime.String(formatter.Run(format.text()));
}

Value BraceFormat(Runtime& runtime, const Value& format, const Arguments& arguments) {
  runtime.ChargeBytes(format.text().size());
  std::string out;
  absl::string_view rest = format.text();
  size_t next = 0;
  while (!rest.empty()) {
    const char c = rest[0];
    if ((c == '{' || c == '}') && rest.size() > 1 && rest[1] == c) {
      out += c;
      rest.remove_prefix(2);
      continue;
    }
    if (c == '}') Fail("format: a single \"}\"");
    if (c != '{') {
      const size_t plain = std::min(rest.find_first_of("{}"), rest.size());
      absl::StrAppend(&out, rest.substr(0, plain));
      rest.remove_prefix(plain);
      continue;
    }
    const size_t close = rest.find('}');
    if (close == rest.npos) Fail("format: a \"{\" that is not closed");
    const absl::string_view field = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
    runtime.Charge(1 + static_cast<int64_t>(arguments.keyword.size() / 16));
    out += ToText(runtime, FieldValue(field, arguments, &next));
    runtime.ChargeBytes(out.size() / 8);
  }
  return runtime.String(std::move(out));
}

}  // namespace retort::text::jinja
