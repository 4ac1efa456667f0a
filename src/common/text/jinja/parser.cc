#include "common/text/jinja/parser.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/failure.h"

namespace retort::text::jinja {
namespace {

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableBegin:
      return "{{";
    case TokenKind::kVariableEnd:
      return "}}";
    case TokenKind::kBlockBegin:
      return "{%";
    case TokenKind::kBlockEnd:
      return "%}";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return absl::StrCat("\"", Printable(token.text), "\"");
  }
}

}  // namespace

Parser::Nesting::Nesting(Parser& parser) : parser_(parser) {
  if (++parser_.nesting_ <= parser_.limits_.max_nesting) return;
  --parser_.nesting_;
  Exhaust(absl::StrCat("nested deeper than ", parser_.limits_.max_nesting, " levels"),
          parser_.Current().line);
}

Block Parser::Parse() { return ParseBody({}, "", 1); }

Token Parser::Next() {
  Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::SkipName(absl::string_view name) {
  if (!Current().IsName(name)) return false;
  Next();
  return true;
}

bool Parser::SkipOperator(absl::string_view op) {
  if (!Current().IsOperator(op)) return false;
  Next();
  return true;
}

void Parser::ExpectOperator(absl::string_view op) {
  if (!SkipOperator(op)) Unexpected(absl::StrCat("\"", op, "\""));
}

std::string Parser::ExpectName(absl::string_view what) {
  if (Current().kind != TokenKind::kName) Unexpected(what);
  return Next().text;
}

void Parser::ExpectBlockEnd() {
  if (Current().kind != TokenKind::kBlockEnd) Unexpected("%}");
  Next();
}

bool Parser::CurrentIsAnyName(Names names) const {
  return std::any_of(names.begin(), names.end(),
                     [&](absl::string_view name) { return Current().IsName(name); });
}

void Parser::Unexpected(absl::string_view expected) const {
  Fail(absl::StrCat("unexpected ", Describe(Current()), "; expected ", expected), Current().line);
}

ExprPtr Parser::Make(ExprKind kind, int line, std::string name) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  expr->name = std::move(name);
  return expr;
}

void Parser::Adopt(Expr* parent, ExprPtr child) const {
  if (child != nullptr) {
    parent->depth = std::max(parent->depth, child->depth + 1);
    if (parent->depth > limits_.max_nesting) {
      Exhaust(absl::StrCat("an expression of more than ", limits_.max_nesting, " levels"),
              parent->line);
    }
  }
  parent->parts.push_back(std::move(child));
}

void Parser::AdoptCall(Expr* parent, CallArguments call) const {
  const auto deepen = [&](const ExprPtr& child) {
    if (child == nullptr) return;
    parent->depth = std::max(parent->depth, child->depth + 1);
    if (parent->depth > limits_.max_nesting) {
      Exhaust(absl::StrCat("an expression of more than ", limits_.max_nesting, " levels"),
              parent->line);
    }
  };
  for (const ExprPtr& argument : call.positional) deepen(argument);
  for (const auto& argument : call.keyword) deepen(argument.second);
  deepen(call.star);
  deepen(call.double_star);
  parent->call = std::move(call);
}

ExprPtr Parser::MakeBinary(ExprKind kind, int line, std::string op, ExprPtr left,
                           ExprPtr right) const {
  ExprPtr expr = Make(kind, line, std::move(op));
  Adopt(expr.get(), std::move(left));
  Adopt(expr.get(), std::move(right));
  return expr;
}

}  // namespace retort::text::jinja
