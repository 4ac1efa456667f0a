#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/arithmetic.h"
#include "common/text/jinja/attribute.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/evaluator.h"
#include "common/text/jinja/print.h"

namespace retort::text::jinja {

Value Evaluator::Evaluate(const Expr& expr) {
  runtime_.Charge();
  if (expr.kind == ExprKind::kConstant) return expr.constant;
  try {
    const Runtime::Depth depth(runtime_);
    return EvaluateKind(expr);
  } catch (Failure& failure) {
    if (failure.line == 0) failure.line = expr.line;
    throw;
  }
}

Value Evaluator::EvaluateKind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.constant;
    case ExprKind::kName:
      return EvaluateName(expr);
    case ExprKind::kList:
      return EvaluateSequence(expr, Kind::kList);
    case ExprKind::kTuple:
      return EvaluateSequence(expr, Kind::kTuple);
    case ExprKind::kDict:
      return EvaluateDict(expr);
    case ExprKind::kAttribute:
      return GetAttribute(runtime_, Evaluate(*expr.parts[0]), expr.name);
    case ExprKind::kSubscript: {
      const Value object = Evaluate(*expr.parts[0]);
      return GetItem(runtime_, object, Evaluate(*expr.parts[1]));
    }
    case ExprKind::kSlice:
      return EvaluateSlice(expr);
    case ExprKind::kCall: {
      const Value callee = Evaluate(*expr.parts[0]);
      return Call(callee, EvaluateArguments(expr.call));
    }
    case ExprKind::kFilter:
      return EvaluateFilter(expr);
    case ExprKind::kTest:
      return EvaluateTest(expr);
    case ExprKind::kConditional:
      return EvaluateConditional(expr);
    case ExprKind::kConcat:
      return EvaluateConcat(expr);
    case ExprKind::kCompare:
      return EvaluateCompare(expr);
    default:
      return EvaluateOperator(expr);
  }
}

Value Evaluator::EvaluateOperator(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kNot:
      return Value::Bool(!Truth(Evaluate(*expr.parts[0])));
    case ExprKind::kNegative:
      return Negative(runtime_, Evaluate(*expr.parts[0]));
    case ExprKind::kPositive:
      return Positive(Evaluate(*expr.parts[0]));
    case ExprKind::kAnd: {
      const Value left = Evaluate(*expr.parts[0]);
      return Truth(left) ? Evaluate(*expr.parts[1]) : left;
    }
    case ExprKind::kOr: {
      const Value left = Evaluate(*expr.parts[0]);
      return Truth(left) ? left : Evaluate(*expr.parts[1]);
    }
    case ExprKind::kBinary: {
      const Value left = Evaluate(*expr.parts[0]);
      return Arithmetic(runtime_, expr.name, left, Evaluate(*expr.parts[1]));
    }
    default:
      return Value::None();  // kNamespaceRef is only ever a target.
  }
}

Value Evaluator::EvaluateName(const Expr& expr) {
  runtime_.Charge(scope_->reach() / 16);
  const Value* const found = scope_->Find(expr.name);
  if (found != nullptr) return *found;
  const Builtin function = FindFunction(expr.name);
  if (function == nullptr) {
    return runtime_.Undefined(absl::StrCat("\"", Printable(expr.name), "\" is undefined"));
  }
  auto* const callable = runtime_.New<CallableObject>();
  callable->call = function;
  callable->name = expr.name;
  return Value::Of(Kind::kFunction, callable);
}

Value Evaluator::EvaluateSequence(const Expr& expr, Kind kind) {
  std::vector<Value> items;
  items.reserve(expr.parts.size());
  for (const ExprPtr& part : expr.parts) items.push_back(Evaluate(*part));
  return runtime_.Sequence(kind, std::move(items));
}

Value Evaluator::EvaluateDict(const Expr& expr) {
  const Value dict = runtime_.Dict({});
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    const Value key = Evaluate(*expr.parts[i]);
    SetKey(runtime_, dict.As<DictObject>(), key, Evaluate(*expr.parts[i + 1]));
  }
  return dict;
}

Value Evaluator::EvaluateSlice(const Expr& expr) {
  const Value object = Evaluate(*expr.parts[0]);
  Value bounds[3] = {Value::None(), Value::None(), Value::None()};
  for (size_t i = 0; i < 3; ++i) {
    if (expr.parts[i + 1] != nullptr) bounds[i] = Evaluate(*expr.parts[i + 1]);
  }
  return GetSlice(runtime_, object, bounds[0], bounds[1], bounds[2]);
}

Value Evaluator::EvaluateFilter(const Expr& expr) {
  if (expr.builtin == nullptr) Refuse(UnknownFilter(expr.name));
  const Value input = expr.parts[0] == nullptr ? block_text_ : Evaluate(*expr.parts[0]);
  return expr.builtin(runtime_, input, EvaluateArguments(expr.call));
}

Value Evaluator::EvaluateTest(const Expr& expr) {
  if (expr.builtin == nullptr) Refuse(UnknownTest(expr.name));
  const Value input = Evaluate(*expr.parts[0]);
  return expr.builtin(runtime_, input, EvaluateArguments(expr.call));
}

Value Evaluator::EvaluateConditional(const Expr& expr) {
  if (Truth(Evaluate(*expr.parts[0]))) return Evaluate(*expr.parts[1]);
  if (expr.parts[2] != nullptr) return Evaluate(*expr.parts[2]);
  return runtime_.Undefined("an inline if without else whose condition is false is undefined");
}

Value Evaluator::EvaluateConcat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& part : expr.parts) {
    absl::StrAppend(&text, ToText(runtime_, Evaluate(*part)));
    runtime_.ChargeBytes(text.size() / 4);
  }
  return runtime_.String(std::move(text));
}

// a < b < c: each operand once, and no further than the first pair that fails.
Value Evaluator::EvaluateCompare(const Expr& expr) {
  Value left = Evaluate(*expr.parts[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    const Value right = Evaluate(*expr.parts[i + 1]);
    if (!Compare(runtime_, expr.operators[i], left, right)) return Value::Bool(false);
    left = right;
  }
  return Value::Bool(true);
}

}  // namespace retort::text::jinja
