// Filters that make numbers.
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/text/jinja/arithmetic.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/item_path.h"
#include "common/text/jinja/number.h"

namespace retort::text::jinja {
namespace {

Value IntegerOf(Runtime& runtime, const std::string& digits) {
  int64_t value = 0;
  if (absl::SimpleAtoi(digits, &value)) return Value::Int(value);
  return Value::Of(Kind::kBigInt, runtime.New<StringObject>(digits));
}

// int(float): towards zero; nullopt for what has no integer.
std::optional<Value> Truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (value < -9.2e18 || value > 9.2e18) Refuse("an integer beyond 64 bits is not supported");
  return Value::Int(static_cast<int64_t>(value));
}

Value Int(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("int", arguments, {"default", "base"});
  const Value fallback = bound.Find(0) == nullptr ? Value::Int(0) : bound.At(0);
  if (self.Is(Kind::kInt) || self.Is(Kind::kBigInt)) return self;
  if (self.Is(Kind::kBool)) return Value::Int(self.int_value());
  if (self.Is(Kind::kFloat)) return Truncated(self.float_value()).value_or(fallback);
  if (!self.IsString()) {
    RequireDefined(self);
    return fallback;
  }
  runtime.ChargeBytes(4 * self.text().size());  // Copied and read digit by digit.
  const int64_t base = bound.Int(1, 10);
  if (base != 0 && (base < 2 || base > 36)) return fallback;
  if (const auto digits = PythonInt(self.text(), static_cast<int>(base))) {
    return IntegerOf(runtime, *digits);
  }
  const auto real = PythonFloat(self.text());
  return real.has_value() ? Truncated(*real).value_or(fallback) : fallback;
}

Value Float(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("float", arguments, {"default"});
  const Value fallback = bound.Find(0) == nullptr ? Value::Float(0) : bound.At(0);
  if (self.Is(Kind::kFloat)) return self;
  if (self.IsIntegral()) return Value::Float(static_cast<double>(self.int_value()));
  if (!self.Is(Kind::kBigInt) && !self.IsString()) {
    RequireDefined(self);
    return fallback;
  }
  runtime.ChargeBytes(4 * self.text().size());  // Copied and read digit by digit.
  if (self.Is(Kind::kBigInt)) return Value::Float(ParseDouble(self.text()));
  const auto real = PythonFloat(self.text());
  return real.has_value() ? Value::Float(*real) : fallback;
}

Value Abs(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("abs", arguments);
  if (self.Is(Kind::kFloat)) return Value::Float(std::fabs(self.float_value()));
  if (self.Is(Kind::kBigInt)) return self.text()[0] == '-' ? Negative(runtime, self) : self;
  const Value positive = Positive(self);
  return positive.int_value() < 0 ? Negative(runtime, positive) : positive;
}

// round(int, digits) with negative digits: to the even multiple of a power of ten.
int64_t RoundInteger(int64_t value, int64_t digits) {
  if (digits >= 0) return value;
  if (digits < -18) return 0;
  int64_t unit = 1;
  for (int64_t i = 0; i > digits; --i) unit *= 10;
  int64_t quotient = value / unit;
  const int64_t rest = std::abs(value % unit);
  const int64_t sign = value < 0 ? -1 : 1;
  if (rest > unit - rest || (rest == unit - rest && quotient % 2 != 0)) quotient += sign;
  int64_t rounded = 0;
  if (__builtin_mul_overflow(quotient, unit, &rounded)) {
    Refuse("an integer beyond 64 bits is not supported");
  }
  return rounded;
}

Value Round(Runtime&, const Value& self, const Arguments& arguments) {
  const Bound bound("round", arguments, {"precision", "method"});
  const int64_t digits = bound.Int(0, 0);
  const absl::string_view method = bound.Text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    Fail("round: argument \"method\" is not \"common\", \"ceil\" or \"floor\"");
  }
  if (!self.IsIntegral() && !self.Is(Kind::kFloat)) {
    RequireDefined(self);
    Fail(absl::StrCat("round needs a number of at most 64 bits, not ", TypeName(self)));
  }
  if (method == "common") {
    return self.IsIntegral() ? Value::Int(RoundInteger(self.int_value(), digits))
                             : Value::Float(RoundFloat(self.float_value(), digits));
  }
  const double value =
      self.Is(Kind::kFloat) ? self.float_value() : static_cast<double>(self.int_value());
  const double unit = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value * unit;
  if (!std::isfinite(scaled) || unit == 0) Fail("round: the number is too large");
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

Value Sum(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"});
  const ItemPath path(runtime, bound.IsNone(0) ? Value::None() : bound.At(0));
  Value sum = bound.Find(1) == nullptr ? Value::Int(0) : bound.At(1);
  if (sum.IsString()) Fail("sum does not add strings; use join");
  for (const Value& item : Iterate(runtime, self)) {
    sum = Arithmetic(runtime, "+", sum, path.Of(runtime, item));
  }
  return sum;
}

}  // namespace

absl::Span<const NamedBuiltin> NumberFilters() {
  static constexpr NamedBuiltin kFilters[] = {
      {"int", Int}, {"float", Float}, {"abs", Abs}, {"round", Round}, {"sum", Sum}};
  return kFilters;
}

}  // namespace retort::text::jinja
