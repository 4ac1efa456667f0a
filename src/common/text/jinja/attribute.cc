#include "common/text/jinja/attribute.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/utf8.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/print.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

bool IsAny(absl::string_view name, std::initializer_list<absl::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What Python has and the sandbox keeps away from templates.
bool IsForbidden(const Value& object, absl::string_view name) {
  if (absl::StartsWith(name, "__")) return true;
  if (object.Is(Kind::kList)) {
    return IsAny(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
  }
  return object.Is(Kind::kDict) && IsAny(name, {"clear", "pop", "popitem", "setdefault", "update"});
}

Value MissingAttribute(Runtime& runtime, const Value& object, absl::string_view name) {
  if (IsForbidden(object, name)) {
    return runtime.Undefined(absl::StrCat("\"", Printable(name), "\" of a ", TypeName(object),
                                          " is not allowed in a template"));
  }
  return runtime.Undefined(
      absl::StrCat("a ", TypeName(object), " has no \"", Printable(name), "\""));
}

std::optional<Value> LoopAttribute(Runtime& runtime, LoopObject& loop, absl::string_view name) {
  const auto count = [&loop] { return static_cast<int64_t>(loop.Length()); };
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "revindex") return Value::Int(count() - index);
  if (name == "revindex0") return Value::Int(count() - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(!loop.Reach(loop.index + 1));
  if (name == "length") return Value::Int(count());
  if (name == "depth") return Value::Int(1);
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem") {
    return index > 0 ? loop.items[loop.index - 1] : runtime.Undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return loop.Reach(loop.index + 1) ? loop.items[loop.index + 1]
                                      : runtime.Undefined("there is no next item");
  }
  return std::nullopt;
}

std::optional<Value> MacroAttribute(Runtime& runtime, const MacroObject& macro,
                                    absl::string_view name) {
  const MacroDefinition& definition = *macro.definition;
  if (name == "name") {
    return definition.name.empty() ? Value::None() : runtime.String(definition.name);
  }
  if (name == "arguments") {
    std::vector<Value> names;
    for (const std::string& parameter : definition.parameters) {
      names.push_back(runtime.String(parameter));
    }
    return runtime.Tuple(std::move(names));
  }
  if (name == "caller") return Value::Bool(definition.reads_caller);
  if (name == "catch_varargs") return Value::Bool(definition.reads_varargs);
  if (name == "catch_kwargs") return Value::Bool(definition.reads_kwargs);
  return std::nullopt;
}

Builtin FindMethod(const Value& object, absl::string_view name) {
  switch (object.kind()) {
    case Kind::kString:
      if (const Builtin found = FindIn(StringMethods(), name)) return found;
      return FindIn(SplitMethods(), name);
    case Kind::kDict:
      return FindIn(DictMethods(), name);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return FindIn(SequenceMethods(), name);
    case Kind::kLoop:
    case Kind::kCycler:
      return FindIn(LoopMethods(), name);
    default:
      return nullptr;
  }
}

// Attributes that are values, not methods.
std::optional<Value> PlainAttribute(Runtime& runtime, const Value& object, absl::string_view name) {
  if (object.Is(Kind::kLoop)) return LoopAttribute(runtime, *object.As<LoopObject>(), name);
  if (object.Is(Kind::kMacro)) return MacroAttribute(runtime, *object.As<MacroObject>(), name);
  if (object.Is(Kind::kNamespace)) {
    const Value* const found = FindKey(runtime, *object.As<DictObject>(), name);
    if (found != nullptr) return *found;
  }
  if (object.Is(Kind::kTuple) && object.As<SequenceObject>()->group) {
    if (name == "grouper") return object.As<SequenceObject>()->items[0];
    if (name == "list") return object.As<SequenceObject>()->items[1];
  }
  if (object.Is(Kind::kCycler) && name == "current") {
    const auto* const cycler = object.As<CyclerObject>();
    return cycler->items[cycler->position];
  }
  return std::nullopt;
}

std::optional<Value> FindAttribute(Runtime& runtime, const Value& object, absl::string_view name) {
  if (const auto plain = PlainAttribute(runtime, object, name)) return plain;
  const bool own = (object.Is(Kind::kLoop) && IsAny(name, {"cycle", "changed"})) ||
                   (object.Is(Kind::kCycler) && IsAny(name, {"next", "reset"})) ||
                   (!object.Is(Kind::kLoop) && !object.Is(Kind::kCycler));
  const Builtin method = own ? FindMethod(object, name) : nullptr;
  if (method == nullptr) return std::nullopt;
  auto* const bound = runtime.New<CallableObject>();
  bound->self = object;
  bound->call = method;
  bound->name = std::string(name);
  return Value::Of(Kind::kMethod, bound);
}

std::optional<Value> IndexedItem(Runtime& runtime, const Value& object, int64_t index) {
  if (object.IsString()) {
    const auto* const string = object.As<StringObject>();
    if (index < 0) index += string->length;
    if (index < 0 || index >= string->length) return std::nullopt;
    runtime.ChargeBytes(string->text.size());
    const size_t begin = ByteOfCodePoint(string->text, index);
    return runtime.String(string->text.substr(begin, CharacterBytes(string->text[begin])));
  }
  if (!object.Is(Kind::kList) && !object.Is(Kind::kTuple) && !object.Is(Kind::kRange)) {
    return std::nullopt;
  }
  const auto& items = object.As<SequenceObject>()->items;
  if (index < 0) index += static_cast<int64_t>(items.size());
  if (index < 0 || index >= static_cast<int64_t>(items.size())) return std::nullopt;
  return items[static_cast<size_t>(index)];
}

bool IsUnhashable(const Value& key) { return key.Is(Kind::kList) || key.Is(Kind::kDict); }

struct SliceBounds {
  int64_t begin, end, step;
};

std::optional<int64_t> SliceInt(const Value& bound) {
  if (bound.Is(Kind::kNone)) return std::nullopt;
  if (bound.IsIntegral()) return bound.int_value();
  RequireDefined(bound);
  Fail(absl::StrCat("a slice needs integers, not ", TypeName(bound)));
}

// Python's slice.indices(length).
SliceBounds ClampSlice(const Value& begin, const Value& end, const Value& step, int64_t length) {
  const int64_t by = SliceInt(step).value_or(1);
  if (by == 0) Fail("a slice's step is 0");
  const int64_t low = by < 0 ? -1 : 0, high = by < 0 ? length - 1 : length;
  const auto clamp = [&](std::optional<int64_t> bound, int64_t absent) {
    if (!bound.has_value()) return absent;
    const int64_t at = *bound < 0 ? *bound + length : *bound;
    return std::clamp(at, low, high);
  };
  return {clamp(SliceInt(begin), by < 0 ? high : low), clamp(SliceInt(end), by < 0 ? low : high),
          by};
}

template <typename Take>
void ForSlice(const SliceBounds& bounds, Take take) {
  // A huge step would overflow the index: what is left says whether there is a next one.
  for (int64_t i = bounds.begin; bounds.step > 0 ? i < bounds.end : i > bounds.end;) {
    take(static_cast<size_t>(i));
    const int64_t left = bounds.end - i;
    if (bounds.step > 0 ? bounds.step >= left : bounds.step <= left) break;
    i += bounds.step;
  }
}

}  // namespace

Value GetOnlyAttribute(Runtime& runtime, const Value& object, absl::string_view name) {
  RequireDefined(object);
  if (const auto found = FindAttribute(runtime, object, name)) return *found;
  return MissingAttribute(runtime, object, name);
}

Value GetAttribute(Runtime& runtime, const Value& object, absl::string_view name) {
  runtime.Charge();
  RequireDefined(object);
  if (const auto found = FindAttribute(runtime, object, name)) return *found;
  if (object.Is(Kind::kDict) && !IsForbidden(object, name)) {
    const Value* const item = FindKey(runtime, *object.As<DictObject>(), name);
    if (item != nullptr) return *item;
  }
  return MissingAttribute(runtime, object, name);
}

Value GetItem(Runtime& runtime, const Value& object, const Value& key) {
  runtime.Charge();
  RequireDefined(object);
  if (object.Is(Kind::kDict) && !IsUnhashable(key)) {
    const Value* const item = FindKey(runtime, *object.As<DictObject>(), key);
    if (item != nullptr) return *item;
  }
  if (key.IsIntegral()) {
    if (const auto item = IndexedItem(runtime, object, key.int_value())) return *item;
  }
  if (key.IsString()) {
    if (const auto found = FindAttribute(runtime, object, key.text())) return *found;
    return MissingAttribute(runtime, object, key.text());
  }
  return runtime.Undefined(absl::StrCat(
      "a ", TypeName(object), " has no item ",
      key.IsIntegral() ? Repr(runtime, key) : absl::StrCat("of type ", TypeName(key))));
}

Value GetSlice(Runtime& runtime, const Value& object, const Value& begin, const Value& end,
               const Value& step) {
  RequireDefined(object);
  if (object.IsString()) {
    const auto* const string = object.As<StringObject>();
    const SliceBounds bounds = ClampSlice(begin, end, step, string->length);
    runtime.ChargeBytes(string->text.size());
    if (bounds.step == 1) {
      const size_t first = ByteOfCodePoint(string->text, bounds.begin);
      const absl::string_view rest = absl::string_view(string->text).substr(first);
      const int64_t count = std::max<int64_t>(bounds.end - bounds.begin, 0);
      return runtime.String(std::string(rest.substr(0, ByteOfCodePoint(rest, count))));
    }
    const std::vector<Value> characters = Characters(runtime, object);
    std::string out;
    ForSlice(bounds, [&](size_t i) { out += characters[i].text(); });
    return runtime.String(std::move(out));
  }
  if (!object.Is(Kind::kList) && !object.Is(Kind::kTuple) && !object.Is(Kind::kRange)) {
    Fail(absl::StrCat("a value of type ", TypeName(object), " cannot be sliced"));
  }
  if (object.Is(Kind::kRange)) Refuse("slicing a range is not supported; write \"| list\" first");
  const auto& items = object.As<SequenceObject>()->items;
  const SliceBounds bounds = ClampSlice(begin, end, step, static_cast<int64_t>(items.size()));
  std::vector<Value> out;
  ForSlice(bounds, [&](size_t i) { out.push_back(items[i]); });
  return runtime.Sequence(object.kind(), std::move(out));
}

}  // namespace retort::text::jinja
