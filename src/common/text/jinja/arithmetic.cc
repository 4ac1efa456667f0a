#include "common/text/jinja/arithmetic.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/text/jinja/percent_format.h"
#include "common/text/jinja/print.h"

namespace retort::text::jinja {
namespace {

[[noreturn]] void FailTypes(absl::string_view op, const Value& a, const Value& b) {
  RequireDefined(a);
  RequireDefined(b);
  Fail(absl::StrCat("\"", op, "\" does not work between ", TypeName(a), " and ", TypeName(b)));
}

[[noreturn]] void FailRange(absl::string_view op) {
  Refuse(absl::StrCat("\"", op, "\" with an integer beyond 64 bits is not supported"));
}

double AsDouble(const Value& value) {
  return value.Is(Kind::kFloat) ? value.float_value() : static_cast<double>(value.int_value());
}

int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double FloorMod(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

Value IntegerPower(Runtime& runtime, int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    if (base == 0 || base == 1) return Value::Int(base);
    if (base == -1) return Value::Int(exponent % 2 == 0 ? 1 : -1);
    runtime.Charge();
    if (__builtin_mul_overflow(result, base, &result)) FailRange("**");
  }
  return Value::Int(result);
}

Value IntegerArithmetic(Runtime& runtime, absl::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+"   ? __builtin_add_overflow(a, b, &result)
      : op == "-" ? __builtin_sub_overflow(a, b, &result)
      : op == "*" ? __builtin_mul_overflow(a, b, &result)
                  : false) {
    FailRange(op);
  }
  if (op == "+" || op == "-" || op == "*") return Value::Int(result);
  if (op == "**" && b >= 0) return IntegerPower(runtime, a, b);
  if (op == "**" && a == 0) Fail("0 cannot be raised to a negative power");
  if (op == "**") return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
  if (b == 0) Fail("division by zero");
  if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
  if (a == INT64_MIN && b == -1) {
    if (op == "%") return Value::Int(0);
    FailRange(op);
  }
  const int64_t quotient = FloorDivide(a, b);
  return Value::Int(op == "//" ? quotient : a - quotient * b);
}

Value FloatArithmetic(absl::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) Fail("0.0 cannot be raised to a negative power");
    if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
      Refuse("a complex number is not supported");
    }
    const double power = std::pow(a, b);
    if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) Fail("\"**\" is too large");
    return Value::Float(power);
  }
  if (b == 0) Fail("division by zero");
  if (op == "/") return Value::Float(a / b);
  const double rest = FloorMod(a, b);
  if (op == "%") return Value::Float(rest);
  const double quotient = (a - rest) / b;
  const double floor = std::floor(quotient);
  return Value::Float(quotient - floor > 0.5 ? floor + 1 : floor);
}

Value ConcatStrings(Runtime& runtime, const Value& a, const Value& b) {
  const bool markup = a.As<StringObject>()->markup || b.As<StringObject>()->markup;
  if (!markup) return runtime.String(absl::StrCat(a.text(), b.text()));
  return runtime.String(
      absl::StrCat(EscapeMarkup(runtime, a).text(), EscapeMarkup(runtime, b).text()),
      /*markup=*/true);
}

Value RepeatString(Runtime& runtime, const Value& text, int64_t times) {
  const std::string& unit = text.text();
  std::string out;
  for (int64_t i = 0; i < times && !unit.empty(); ++i) {
    runtime.ChargeBytes(unit.size());
    out += unit;
  }
  return runtime.String(std::move(out), text.As<StringObject>()->markup);
}

Value RepeatSequence(Runtime& runtime, const Value& sequence, int64_t times) {
  const std::vector<Value>& unit = sequence.As<SequenceObject>()->items;
  std::vector<Value> out;
  for (int64_t i = 0; i < times && !unit.empty(); ++i) {
    runtime.Charge(static_cast<int64_t>(unit.size()));
    out.insert(out.end(), unit.begin(), unit.end());
  }
  return runtime.Sequence(sequence.kind(), std::move(out));
}

bool IsListOrTuple(const Value& value) { return value.Is(Kind::kList) || value.Is(Kind::kTuple); }

}  // namespace

Value Arithmetic(Runtime& runtime, absl::string_view op, const Value& a, const Value& b) {
  if (a.IsIntegral() && b.IsIntegral()) {
    return IntegerArithmetic(runtime, op, a.int_value(), b.int_value());
  }
  if (op == "%" && a.IsString()) return PercentFormat(runtime, a, b);
  if (a.IsNumber() && b.IsNumber()) {
    if (a.Is(Kind::kBigInt) || b.Is(Kind::kBigInt)) FailRange(op);
    return FloatArithmetic(op, AsDouble(a), AsDouble(b));
  }
  if (op == "+" && a.IsString() && b.IsString()) return ConcatStrings(runtime, a, b);
  if (op == "+" && IsListOrTuple(a) && a.kind() == b.kind()) {
    std::vector<Value> items = a.As<SequenceObject>()->items;
    const auto& more = b.As<SequenceObject>()->items;
    items.insert(items.end(), more.begin(), more.end());
    return runtime.Sequence(a.kind(), std::move(items));
  }
  if (op == "*") {
    const Value& unit = a.IsIntegral() ? b : a;
    const Value& times = a.IsIntegral() ? a : b;
    if (unit.IsString() && times.IsIntegral())
      return RepeatString(runtime, unit, times.int_value());
    if (IsListOrTuple(unit) && times.IsIntegral()) {
      return RepeatSequence(runtime, unit, times.int_value());
    }
  }
  FailTypes(op, a, b);
}

Value Negative(Runtime& runtime, const Value& value) {
  if (value.Is(Kind::kFloat)) return Value::Float(-value.float_value());
  if (value.Is(Kind::kBigInt)) {
    const std::string& digits = value.text();
    runtime.ChargeBytes(digits.size());
    std::string inverse = digits[0] == '-' ? digits.substr(1) : absl::StrCat("-", digits);
    return Value::Of(Kind::kBigInt, runtime.New<StringObject>(std::move(inverse)));
  }
  if (!value.IsIntegral()) {
    RequireDefined(value);
    Fail(absl::StrCat("\"-\" does not work on ", TypeName(value)));
  }
  if (value.int_value() == INT64_MIN) FailRange("-");
  return Value::Int(-value.int_value());
}

Value Positive(const Value& value) {
  if (value.IsIntegral()) return Value::Int(value.int_value());
  if (value.IsNumber()) return value;
  RequireDefined(value);
  Fail(absl::StrCat("\"+\" does not work on ", TypeName(value)));
}

Value EscapeMarkup(Runtime& runtime, const Value& value) {
  if (value.IsString() && value.As<StringObject>()->markup) return value;
  return runtime.String(
      absl::StrReplaceAll(
          ToText(runtime, value),
          {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}}),
      /*markup=*/true);
}

}  // namespace retort::text::jinja
