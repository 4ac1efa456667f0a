#include "common/text/jinja/print.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/utf8.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/number.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

// Appends the repr of nested values to one string, so that a deep list costs its length once.
class ReprWriter {
 public:
  explicit ReprWriter(Runtime& runtime) : runtime_(runtime) {}

  void Write(const Value& value) {
    const Runtime::Depth depth(runtime_);
    runtime_.Charge();
    switch (value.kind()) {
      case Kind::kUndefined:
        out_ += "Undefined";
        break;
      case Kind::kString:
        WriteString(value);
        break;
      case Kind::kList:
        WriteItems(value, "[", "]");
        break;
      case Kind::kTuple:
        WriteItems(value, "(", value.As<SequenceObject>()->items.size() == 1 ? ",)" : ")");
        break;
      case Kind::kView:
        absl::StrAppend(&out_, value.As<SequenceObject>()->view);
        WriteItems(value, "([", "])");
        break;
      case Kind::kRange:
        WriteRange(*value.As<SequenceObject>());
        break;
      case Kind::kDict:
        WriteDict(value);
        break;
      case Kind::kNamespace:
        out_ += "<Namespace ";
        WriteDict(value);
        out_ += ">";
        break;
      default:
        WriteScalar(value);
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  void WriteString(const Value& value) {
    const auto* const string = value.As<StringObject>();
    const std::string quoted = QuotePython(string->text);
    runtime_.ChargeBytes(quoted.size());
    absl::StrAppend(&out_, string->markup ? "Markup(" : "", quoted, string->markup ? ")" : "");
  }

  void WriteItems(const Value& value, absl::string_view open, absl::string_view close) {
    absl::StrAppend(&out_, open);
    bool first = true;
    for (const Value& item : value.As<SequenceObject>()->items) {
      if (!std::exchange(first, false)) out_ += ", ";
      Write(item);
    }
    absl::StrAppend(&out_, close);
  }

  void WriteRange(const SequenceObject& range) {
    absl::StrAppend(&out_, "range(", range.start, ", ", range.stop);
    if (range.step != 1) absl::StrAppend(&out_, ", ", range.step);
    out_ += ")";
  }

  void WriteDict(const Value& value) {
    out_ += "{";
    bool first = true;
    for (const auto& [key, item] : value.As<DictObject>()->entries) {
      if (!std::exchange(first, false)) out_ += ", ";
      Write(key);
      out_ += ": ";
      Write(item);
    }
    out_ += "}";
  }

  void WriteScalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "None";
        break;
      case Kind::kBool:
        out_ += value.bool_value() ? "True" : "False";
        break;
      case Kind::kInt:
        absl::StrAppend(&out_, value.int_value());
        break;
      case Kind::kBigInt:
        runtime_.ChargeBytes(value.text().size());
        out_ += value.text();
        break;
      case Kind::kFloat:
        out_ += FloatRepr(value.float_value());
        break;
      case Kind::kIterator:
        Refuse("printing a generator is not supported; write \"| list\" or \"| join\" behind it");
      default:
        Refuse(absl::StrCat("printing a value of type ", TypeName(value), " is not supported"));
    }
  }

  Runtime& runtime_;
  std::string out_;
};

void AppendJsonString(absl::string_view text, bool ensure_ascii, std::string* out) {
  *out += '"';
  while (!text.empty()) {
    const char32_t c = CodePoint(text);
    const size_t bytes = CharacterBytes(text[0]);
    static constexpr absl::string_view kEscaped = "\"\\\n\r\t\b\f";
    static constexpr absl::string_view kLetters = "\"\\nrtbf";
    const size_t escape = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : kEscaped.npos;
    if (escape != kEscaped.npos) {
      *out += '\\';
      *out += kLetters[escape];
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000)) {
      absl::StrAppendFormat(out, "\\u%04x", static_cast<uint32_t>(c));
    } else if (ensure_ascii && c >= 0x10000) {
      const uint32_t offset = static_cast<uint32_t>(c) - 0x10000;
      absl::StrAppendFormat(out, "\\u%04x\\u%04x", 0xD800 + (offset >> 10),
                            0xDC00 + (offset & 0x3FF));
    } else {
      absl::StrAppend(out, text.substr(0, bytes));
    }
    text.remove_prefix(bytes);
  }
  *out += '"';
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return FloatRepr(value);
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void Write(const Value& value, int level) {
    const Runtime::Depth depth(runtime_);
    runtime_.Charge();
    if (value.Is(Kind::kDict)) {
      WriteDict(*value.As<DictObject>(), level);
    } else if (value.Is(Kind::kList) || value.Is(Kind::kTuple)) {
      WriteList(value.As<SequenceObject>()->items, level);
    } else if (value.IsString()) {
      runtime_.ChargeBytes(value.text().size());
      AppendJsonString(value.text(), style_.ensure_ascii, &out_);
    } else {
      out_ += Scalar(value);
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  std::string Scalar(const Value& value) const {
    switch (value.kind()) {
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return value.bool_value() ? "true" : "false";
      case Kind::kInt:
        return absl::StrCat(value.int_value());
      case Kind::kBigInt:
        runtime_.ChargeBytes(value.text().size());
        return value.text();
      case Kind::kFloat:
        return JsonFloat(value.float_value());
      default:
        RequireDefined(value);
        Fail(absl::StrCat("tojson: a value of type ", TypeName(value), " has no JSON"));
    }
  }

  void Separate(const std::string& separator) {
    runtime_.ChargeBytes(separator.size());
    out_ += separator;
  }

  void NewLine(int level) {
    if (!style_.multiline) return;
    out_ += '\n';
    runtime_.ChargeBytes(style_.indent.size() * static_cast<size_t>(level));
    for (int i = 0; i < level; ++i) out_ += style_.indent;
  }

  void WriteList(const std::vector<Value>& items, int level) {
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) Separate(style_.item_separator);
      NewLine(level + 1);
      Write(items[i], level + 1);
    }
    if (!items.empty()) NewLine(level);
    out_ += ']';
  }

  void WriteDict(const DictObject& dict, int level) {
    out_ += '{';
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto* a, const auto* b) {
        return Less(runtime_, a->first, b->first);
      });
    }
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) Separate(style_.item_separator);
      NewLine(level + 1);
      WriteKey(entries[i]->first);
      Separate(style_.key_separator);
      Write(entries[i]->second, level + 1);
    }
    if (!entries.empty()) NewLine(level);
    out_ += '}';
  }

  void WriteKey(const Value& key) {
    if (key.IsString()) {
      runtime_.ChargeBytes(key.text().size());
      AppendJsonString(key.text(), style_.ensure_ascii, &out_);
    } else if (key.IsNumber() || key.Is(Kind::kNone)) {
      absl::StrAppend(&out_, "\"", Scalar(key), "\"");
    } else {
      Fail(absl::StrCat("tojson: a key of type ", TypeName(key), " has no JSON"));
    }
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

std::string Repr(Runtime& runtime, const Value& value) {
  ReprWriter writer(runtime);
  writer.Write(value);
  return writer.Take();
}

std::string ToText(Runtime& runtime, const Value& value) {
  if (value.IsUndefined()) return "";
  if (value.IsString()) {
    runtime.ChargeBytes(value.text().size());
    return value.text();
  }
  return Repr(runtime, value);
}

std::string ToJson(Runtime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(runtime, style);
  writer.Write(value, 0);
  return writer.Take();
}

}  // namespace retort::text::jinja
