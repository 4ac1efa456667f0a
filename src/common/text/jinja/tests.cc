// Tests: what stands behind `is`.
#include "absl/strings/str_cat.h"
#include "common/text/jinja/arithmetic.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/print.h"
#include "common/text/jinja/python_text.h"

namespace retort::text::jinja {
namespace {

template <bool (*predicate)(const Value&)>
Value Simple(Runtime&, const Value& self, const Arguments& arguments) {
  NoArguments("the test", arguments);
  return Value::Bool(predicate(self));
}

bool IsDefined(const Value& value) { return !value.IsUndefined(); }
bool IsUndefined(const Value& value) { return value.IsUndefined(); }
bool IsNone(const Value& value) { return value.Is(Kind::kNone); }
bool IsBoolean(const Value& value) { return value.Is(Kind::kBool); }
bool IsTrue(const Value& value) { return value.Is(Kind::kBool) && value.bool_value(); }
bool IsFalse(const Value& value) { return value.Is(Kind::kBool) && !value.bool_value(); }
bool IsInteger(const Value& value) { return value.Is(Kind::kInt) || value.Is(Kind::kBigInt); }
bool IsFloat(const Value& value) { return value.Is(Kind::kFloat); }
bool IsNumber(const Value& value) { return value.IsNumber(); }
bool IsString(const Value& value) { return value.IsString(); }
bool IsMapping(const Value& value) { return value.Is(Kind::kDict); }
bool IsEscaped(const Value& value) { return value.IsString() && value.As<StringObject>()->markup; }

// Has a length and indices: not a view or a generator.
bool IsSequence(const Value& value) {
  return value.IsUndefined() || value.IsString() || value.Is(Kind::kList) ||
         value.Is(Kind::kTuple) || value.Is(Kind::kRange) || value.Is(Kind::kDict);
}

bool IsCallable(const Value& value) {
  return value.IsUndefined() || value.Is(Kind::kMacro) || value.Is(Kind::kMethod) ||
         value.Is(Kind::kFunction) || value.Is(Kind::kJoiner) || value.Is(Kind::kLoop);
}

bool IsIterableValue(const Value& value) { return IsIterable(value) || value.Is(Kind::kLoop); }

template <bool even>
Value Parity(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments(even ? "even" : "odd", arguments);
  const Value rest = Arithmetic(runtime, "%", self, Value::Int(2));
  return Value::Bool(Equal(runtime, rest, Value::Int(even ? 0 : 1)));
}

Value DivisibleBy(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("divisibleby", arguments, {"num"}, 1);
  return Value::Bool(Equal(runtime, Arithmetic(runtime, "%", self, bound.At(0)), Value::Int(0)));
}

constexpr char kEq[] = "==", kNe[] = "!=", kLt[] = "<", kLe[] = "<=", kGt[] = ">",
               kGe[] = ">=", kIn[] = "in";

template <const char* op>
Value Comparison(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("the test", arguments, {"other"}, 1);
  return Value::Bool(Compare(runtime, op, self, bound.At(0)));
}

Value SameAs(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("sameas", arguments, {"other"}, 1);
  const Value& other = bound.At(0);
  if (self.kind() != other.kind()) return Value::Bool(false);
  if (self.Is(Kind::kNone) || self.Is(Kind::kBool)) {
    return Value::Bool(Equal(runtime, self, other));
  }
  if (self.IsNumber() || self.IsString()) {
    Refuse("\"is sameas\" of numbers and strings is not supported; use ==");
  }
  return Value::Bool(self.object() == other.object());
}

template <bool (*predicate)(absl::string_view)>
Value Cased(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("the test", arguments);
  return Value::Bool(predicate(ToText(runtime, self)));
}

template <Builtin (*find)(absl::string_view)>
Value Exists(Runtime&, const Value& self, const Arguments& arguments) {
  NoArguments("the test", arguments);
  return Value::Bool(self.IsString() && find(self.text()) != nullptr);
}

}  // namespace

absl::Span<const NamedBuiltin> Tests() {
  static constexpr NamedBuiltin kTests[] = {
      {"defined", Simple<IsDefined>},
      {"undefined", Simple<IsUndefined>},
      {"none", Simple<IsNone>},
      {"boolean", Simple<IsBoolean>},
      {"true", Simple<IsTrue>},
      {"false", Simple<IsFalse>},
      {"integer", Simple<IsInteger>},
      {"float", Simple<IsFloat>},
      {"number", Simple<IsNumber>},
      {"string", Simple<IsString>},
      {"mapping", Simple<IsMapping>},
      {"sequence", Simple<IsSequence>},
      {"iterable", Simple<IsIterableValue>},
      {"callable", Simple<IsCallable>},
      {"escaped", Simple<IsEscaped>},
      {"odd", Parity<false>},
      {"even", Parity<true>},
      {"divisibleby", DivisibleBy},
      {"eq", Comparison<kEq>},
      {"equalto", Comparison<kEq>},
      {"==", Comparison<kEq>},
      {"ne", Comparison<kNe>},
      {"!=", Comparison<kNe>},
      {"lt", Comparison<kLt>},
      {"lessthan", Comparison<kLt>},
      {"<", Comparison<kLt>},
      {"le", Comparison<kLe>},
      {"<=", Comparison<kLe>},
      {"gt", Comparison<kGt>},
      {"greaterthan", Comparison<kGt>},
      {">", Comparison<kGt>},
      {"ge", Comparison<kGe>},
      {">=", Comparison<kGe>},
      {"in", Comparison<kIn>},
      {"sameas", SameAs},
      {"lower", Cased<IsLower>},
      {"upper", Cased<IsUpper>},
      {"filter", Exists<FindFilter>},
      {"test", Exists<FindTest>},
  };
  return kTests;
}

}  // namespace retort::text::jinja
