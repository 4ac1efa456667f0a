// The expressions of the grammar, in Jinja's order of precedence: conditional, or, and, not,
// comparison, + -, ~, * / // %, **, unary, then subscripts, calls, filters and tests.
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/number.h"
#include "common/text/jinja/parser.h"

namespace retort::text::jinja {

ExprPtr Parser::ParseExpression(bool conditional) {
  const Nesting nesting(*this);
  return conditional ? ParseConditional() : ParseOr();
}

ExprPtr Parser::ParseConditional() {
  ExprPtr expr = ParseOr();
  while (Current().IsName("if")) {
    const int line = Next().line;
    ++conditional_;
    ExprPtr choice = Make(ExprKind::kConditional, line);
    Adopt(choice.get(), ParseOr());
    Adopt(choice.get(), std::move(expr));
    ExprPtr otherwise;
    if (SkipName("else")) otherwise = ParseExpression();
    Adopt(choice.get(), std::move(otherwise));
    --conditional_;
    expr = std::move(choice);
  }
  return expr;
}

ExprPtr Parser::ParseOr() {
  ExprPtr left = ParseAnd();
  while (Current().IsName("or")) {
    const int line = Next().line;
    left = MakeBinary(ExprKind::kOr, line, "", std::move(left), ParseAnd());
  }
  return left;
}

ExprPtr Parser::ParseAnd() {
  ExprPtr left = ParseNot();
  while (Current().IsName("and")) {
    const int line = Next().line;
    left = MakeBinary(ExprKind::kAnd, line, "", std::move(left), ParseNot());
  }
  return left;
}

ExprPtr Parser::ParseNot() {
  if (!Current().IsName("not")) return ParseCompare();
  const Nesting nesting(*this);
  ExprPtr expr = Make(ExprKind::kNot, Next().line);
  Adopt(expr.get(), ParseNot());
  return expr;
}

ExprPtr Parser::ParseCompare() {
  ExprPtr first = ParseSum();
  ExprPtr compare;
  while (true) {
    const Token& token = Current();
    std::string op;
    if (token.kind == TokenKind::kOperator &&
        (token.text == "==" || token.text == "!=" || token.text == ">" || token.text == ">=" ||
         token.text == "<" || token.text == "<=")) {
      op = token.text;
    } else if (token.IsName("in")) {
      op = "in";
    } else if (token.IsName("not") && Look().IsName("in")) {
      Next();
      op = "not in";
    } else {
      break;
    }
    const int line = Next().line;
    if (compare == nullptr) {
      compare = Make(ExprKind::kCompare, line);
      Adopt(compare.get(), std::move(first));
    }
    compare->operators.push_back(std::move(op));
    Adopt(compare.get(), ParseSum());
  }
  return compare == nullptr ? std::move(first) : std::move(compare);
}

ExprPtr Parser::ParseSum() {
  ExprPtr left = ParseConcat();
  while (Current().IsOperator("+") || Current().IsOperator("-")) {
    const Token op = Next();
    left = MakeBinary(ExprKind::kBinary, op.line, op.text, std::move(left), ParseConcat());
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  ExprPtr first = ParseProduct();
  if (!Current().IsOperator("~")) return first;
  ExprPtr concat = Make(ExprKind::kConcat, Current().line);
  Adopt(concat.get(), std::move(first));
  while (SkipOperator("~")) Adopt(concat.get(), ParseProduct());
  return concat;
}

ExprPtr Parser::ParseProduct() {
  ExprPtr left = ParsePower();
  while (Current().IsOperator("*") || Current().IsOperator("/") || Current().IsOperator("//") ||
         Current().IsOperator("%")) {
    const Token op = Next();
    left = MakeBinary(ExprKind::kBinary, op.line, op.text, std::move(left), ParsePower());
  }
  return left;
}

ExprPtr Parser::ParsePower() {
  ExprPtr left = ParseUnary();
  while (Current().IsOperator("**")) {
    const Token op = Next();
    left = MakeBinary(ExprKind::kBinary, op.line, op.text, std::move(left), ParseUnary());
  }
  return left;
}

// A sign binds tighter than a filter: -1|abs is 1.
ExprPtr Parser::ParseUnary(bool with_filter) {
  ExprPtr expr;
  if (Current().IsOperator("-") || Current().IsOperator("+")) {
    const Nesting nesting(*this);
    const Token sign = Next();
    expr = Make(sign.text == "-" ? ExprKind::kNegative : ExprKind::kPositive, sign.line);
    Adopt(expr.get(), ParseUnary(/*with_filter=*/false));
  } else {
    expr = ParsePrimary();
  }
  expr = ParsePostfix(std::move(expr));
  return with_filter ? ParseFilterExpr(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::ParsePrimary(bool as_target) {
  const Token& token = Current();
  if (token.kind == TokenKind::kName) return ParseName(as_target);
  if (token.kind == TokenKind::kString) return ParseString();
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat) return ParseNumber();
  if (SkipOperator("(")) {
    const Nesting nesting(*this);
    ExprPtr expr = ParseTuple(/*conditional=*/true, /*explicit_parentheses=*/true,
                              /*as_target=*/false, /*until_in=*/false);
    ExpectOperator(")");
    return expr;
  }
  if (token.IsOperator("[")) return ParseListLiteral();
  if (token.IsOperator("{")) return ParseDictLiteral();
  Unexpected("an expression");
}

ExprPtr Parser::ParseName(bool as_target) {
  const Token token = Next();
  ExprPtr constant = Make(ExprKind::kConstant, token.line);
  if (token.text == "true" || token.text == "True" || token.text == "false" ||
      token.text == "False") {
    constant->constant = Value::Bool(token.text[0] == 't' || token.text[0] == 'T');
    return constant;
  }
  if (token.text == "none" || token.text == "None") {
    constant->constant = Value::None();
    return constant;
  }
  if (as_target && SkipOperator(".")) {
    ExprPtr reference = Make(ExprKind::kNamespaceRef, token.line, token.text);
    reference->attribute = ExpectName("a name");
    return reference;
  }
  if (token.text == "caller") names_.caller = true;
  if (token.text == "varargs") names_.varargs = true;
  if (token.text == "kwargs") names_.kwargs = true;
  return Make(ExprKind::kName, token.line, token.text);
}

ExprPtr Parser::ParseNumber() {
  const Token token = Next();
  ExprPtr expr = Make(ExprKind::kConstant, token.line);
  int64_t integer = 0;
  if (token.kind == TokenKind::kFloat) {
    expr->constant = Value::Float(ParseDouble(token.text));
  } else if (absl::SimpleAtoi(token.text, &integer)) {
    expr->constant = Value::Int(integer);
  } else {
    expr->constant_object = std::make_unique<StringObject>(CanonicalInteger(token.text));
    expr->constant = Value::Of(Kind::kBigInt, expr->constant_object.get());
  }
  return expr;
}

ExprPtr Parser::ParseString() {
  ExprPtr expr = Make(ExprKind::kConstant, Current().line);
  std::string text;
  while (Current().kind == TokenKind::kString) text += Next().text;
  expr->constant_object = std::make_unique<StringObject>(std::move(text));
  expr->constant = Value::Of(Kind::kString, expr->constant_object.get());
  return expr;
}

ExprPtr Parser::ParseListLiteral() {
  ExprPtr list = Make(ExprKind::kList, Next().line);
  while (!Current().IsOperator("]")) {
    Adopt(list.get(), ParseExpression());
    if (!SkipOperator(",")) break;
  }
  ExpectOperator("]");
  return list;
}

ExprPtr Parser::ParseDictLiteral() {
  ExprPtr dict = Make(ExprKind::kDict, Next().line);
  while (!Current().IsOperator("}")) {
    Adopt(dict.get(), ParseExpression());
    ExpectOperator(":");
    Adopt(dict.get(), ParseExpression());
    if (!SkipOperator(",")) break;
  }
  ExpectOperator("}");
  return dict;
}

ExprPtr Parser::ParsePostfix(ExprPtr expr) {
  while (true) {
    if (Current().IsOperator(".") || Current().IsOperator("[")) {
      expr = ParseSubscript(std::move(expr));
    } else if (Current().IsOperator("(")) {
      ExprPtr call = Make(ExprKind::kCall, Current().line);
      Adopt(call.get(), std::move(expr));
      CallArguments arguments;
      ParseArguments(&arguments);
      AdoptCall(call.get(), std::move(arguments));
      expr = std::move(call);
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::ParseFilterExpr(ExprPtr expr) {
  while (true) {
    if (Current().IsOperator("|")) {
      expr = ParseFilters(std::move(expr), /*first_is_bare=*/false);
    } else if (Current().IsName("is")) {
      expr = ParseTest(std::move(expr));
    } else if (Current().IsOperator("(")) {
      expr = ParsePostfix(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::ParseSubscript(ExprPtr expr) {
  const Token token = Next();
  if (token.text == ".") {
    if (Current().kind == TokenKind::kName) {
      ExprPtr attribute = Make(ExprKind::kAttribute, token.line, Next().text);
      Adopt(attribute.get(), std::move(expr));
      return attribute;
    }
    if (Current().kind != TokenKind::kInteger) Unexpected("a name or a number behind \".\"");
    return MakeBinary(ExprKind::kSubscript, token.line, "", std::move(expr), ParseNumber());
  }
  if (Current().IsOperator("]")) Unexpected("an index");
  ExprPtr key;
  if (!Current().IsOperator(":")) key = ParseExpression();
  if (Current().IsOperator(":")) {
    return ParseSlice(std::move(expr), std::move(key), token.line);
  }
  if (Current().IsOperator(",")) {
    ExprPtr tuple = Make(ExprKind::kTuple, token.line);
    Adopt(tuple.get(), std::move(key));
    while (SkipOperator(",")) Adopt(tuple.get(), ParseExpression());
    key = std::move(tuple);
  }
  ExpectOperator("]");
  return MakeBinary(ExprKind::kSubscript, token.line, "", std::move(expr), std::move(key));
}

ExprPtr Parser::ParseSlice(ExprPtr object, ExprPtr begin, int line) {
  ExprPtr slice = Make(ExprKind::kSlice, line);
  Adopt(slice.get(), std::move(object));
  Adopt(slice.get(), std::move(begin));
  for (int i = 0; i < 2; ++i) {
    ExprPtr bound;
    if (SkipOperator(":") && !Current().IsOperator(":") && !Current().IsOperator("]")) {
      bound = ParseExpression();
    }
    Adopt(slice.get(), std::move(bound));
  }
  ExpectOperator("]");
  return slice;
}

}  // namespace retort::text::jinja
