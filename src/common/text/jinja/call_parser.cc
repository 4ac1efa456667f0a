// The parts of expressions that carry arguments: filters, tests, calls; and tuples.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/parser.h"

namespace retort::text::jinja {

std::string Parser::ParseDottedName(absl::string_view what) {
  std::string name = ExpectName(what);
  while (SkipOperator(".")) absl::StrAppend(&name, ".", ExpectName(what));
  return name;
}

ExprPtr Parser::ParseFilters(ExprPtr input, bool first_is_bare) {
  while (first_is_bare || SkipOperator("|")) {
    first_is_bare = false;
    const int line = Current().line;
    ExprPtr filter = Make(ExprKind::kFilter, line, ParseDottedName("the name of a filter"));
    filter->builtin = FindFilter(filter->name);
    if (conditional_ == 0 && filter->builtin == nullptr) Refuse(UnknownFilter(filter->name), line);
    Adopt(filter.get(), std::move(input));
    CallArguments arguments;
    if (Current().IsOperator("(")) ParseArguments(&arguments);
    AdoptCall(filter.get(), std::move(arguments));
    input = std::move(filter);
  }
  return input;
}

ExprPtr Parser::ParseTest(ExprPtr input) {
  const int line = Next().line;
  const bool negated = SkipName("not");
  ExprPtr test = Make(ExprKind::kTest, line, ParseDottedName("the name of a test"));
  test->builtin = FindTest(test->name);
  if (conditional_ == 0 && test->builtin == nullptr) Refuse(UnknownTest(test->name), line);
  Adopt(test.get(), std::move(input));
  CallArguments arguments;
  const Token& token = Current();
  const bool operand = token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
                       token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
                       token.IsOperator("[") || token.IsOperator("{");
  if (token.IsOperator("(")) {
    ParseArguments(&arguments);
  } else if (operand && !CurrentIsAnyName({"else", "or", "and"})) {
    if (token.IsName("is")) Fail("tests cannot be chained with \"is\"", token.line);
    // "x is eq y in z" would read `in` as an argument; so does Jinja, and so it fails there too.
    arguments.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  AdoptCall(test.get(), std::move(arguments));
  if (!negated) return test;
  ExprPtr inverse = Make(ExprKind::kNot, line);
  Adopt(inverse.get(), std::move(test));
  return inverse;
}

void Parser::ParseArguments(CallArguments* call) {
  ExpectOperator("(");
  while (!Current().IsOperator(")")) {
    ParseArgument(call);
    if (!SkipOperator(",")) break;
  }
  ExpectOperator(")");
}

void Parser::ParseArgument(CallArguments* call) {
  const int line = Current().line;
  const bool named = Current().kind == TokenKind::kName && Look().IsOperator("=");
  const bool late =
      call->double_star != nullptr ||
      (!named && !Current().IsOperator("**") && (call->star != nullptr || !call->keyword.empty()));
  if (late) Fail("a positional argument behind a named one or behind * or **", line);
  if (SkipOperator("*")) {
    call->star = ParseExpression();
  } else if (SkipOperator("**")) {
    call->double_star = ParseExpression();
  } else if (named) {
    std::string name = Next().text;
    Next();
    for (const auto& other : call->keyword) {
      if (other.first == name) {
        Fail(absl::StrCat("argument \"", Printable(name), "\" is given twice"), line);
      }
    }
    call->keyword.emplace_back(std::move(name), ParseExpression());
  } else {
    call->positional.push_back(ParseExpression());
  }
}

bool Parser::AtTupleEnd(bool until_in) const {
  const Token& token = Current();
  return token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd ||
         token.IsOperator(")") || (until_in && token.IsName("in"));
}

// One expression, or a tuple of those that commas separate.
ExprPtr Parser::ParseTuple(bool conditional, bool explicit_parentheses, bool as_target,
                           bool until_in) {
  const int line = Current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!AtTupleEnd(until_in)) {
    items.push_back(as_target ? ParsePrimary(/*as_target=*/true) : ParseExpression(conditional));
    if (!SkipOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (items.empty() && !explicit_parentheses) Unexpected("an expression");
  ExprPtr tuple = Make(ExprKind::kTuple, line);
  for (ExprPtr& item : items) Adopt(tuple.get(), std::move(item));
  return tuple;
}

}  // namespace retort::text::jinja
