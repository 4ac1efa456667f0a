// Tags.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/parser.h"

namespace retort::text::jinja {
namespace {

StmtPtr MakeStmt(StmtKind kind, int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = line;
  return stmt;
}

void CheckTarget(const Expr& target, bool namespaces) {
  if (target.kind == ExprKind::kName) return;
  if (target.kind == ExprKind::kNamespaceRef && namespaces) return;
  if (target.kind != ExprKind::kTuple) Fail("cannot assign to this expression", target.line);
  for (const ExprPtr& part : target.parts) CheckTarget(*part, namespaces);
}

}  // namespace

// Statements and text up to a tag whose name is in `ends`, which is then the current token.
Block Parser::ParseBody(Names ends, absl::string_view tag, int line) {
  const Nesting nesting(*this);
  Block body;
  while (Current().kind != TokenKind::kEnd) {
    const Token token = Next();
    if (token.kind == TokenKind::kData) {
      body.push_back(MakeStmt(StmtKind::kText, token.line));
      body.back()->text = token.text;
    } else if (token.kind == TokenKind::kVariableBegin) {
      body.push_back(MakeStmt(StmtKind::kPrint, token.line));
      body.back()->exprs.push_back(ParseTuple(/*conditional=*/true, /*explicit_parentheses=*/false,
                                              /*as_target=*/false, /*until_in=*/false));
      if (Current().kind != TokenKind::kVariableEnd) Unexpected("}}");
      Next();
    } else {
      if (CurrentIsAnyName(ends)) return body;
      const Token name = Current();
      if (name.kind != TokenKind::kName) Unexpected("the name of a tag");
      Next();
      body.push_back(ParseStatement(name));
      ExpectBlockEnd();
    }
  }
  if (!tag.empty()) Fail(absl::StrCat("{% ", tag, " %} is not closed"), line);
  return body;
}

// The same behind the tag's own %}.
Block Parser::ParseTagBody(Names ends, absl::string_view tag, int line) {
  SkipOperator(":");
  ExpectBlockEnd();
  return ParseBody(ends, tag, line);
}

StmtPtr Parser::ParseStatement(const Token& tag) {
  const std::string& name = tag.text;
  const int line = tag.line;
  if (name == "if") return ParseIf(line);
  if (name == "for") return ParseFor(line);
  if (name == "set") return ParseSet(line);
  if (name == "macro") return ParseMacro(line);
  if (name == "call") return ParseCallBlock(line);
  if (name == "filter") return ParseFilterBlock(line);
  if (name == "with") return ParseWith(line);
  if (name == "generation") return ParseGeneration(line);
  if (name == "break") return ParseLoopControl(StmtKind::kBreak, name, line);
  if (name == "continue") return ParseLoopControl(StmtKind::kContinue, name, line);
  for (const absl::string_view known : {"block", "extends", "include", "import", "from", "print",
                                        "autoescape", "do", "trans", "debug"}) {
    if (name == known) Refuse(absl::StrCat("tag {% ", name, " %} is not supported"), line);
  }
  Fail(absl::StrCat("tag {% ", Printable(name), " %} is unknown or stands at the wrong place"),
       line);
}

StmtPtr Parser::ParseIf(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kIf, line);
  ++conditional_;
  bool has_else = false;
  while (true) {
    Branch branch;
    if (!has_else) {
      branch.condition = ParseTuple(/*conditional=*/false, /*explicit_parentheses=*/false,
                                    /*as_target=*/false, /*until_in=*/false);
    }
    branch.body = has_else ? ParseTagBody({"endif"}, "if", line)
                           : ParseTagBody({"elif", "else", "endif"}, "if", line);
    stmt->branches.push_back(std::move(branch));
    const std::string end = Next().text;
    if (end == "endif") break;
    has_else = end == "else";
  }
  --conditional_;
  return stmt;
}

StmtPtr Parser::ParseFor(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kFor, line);
  stmt->exprs.push_back(ParseTarget(/*until_in=*/true));
  if (!SkipName("in")) Unexpected("\"in\"");
  stmt->exprs.push_back(ParseTuple(/*conditional=*/false, /*explicit_parentheses=*/false,
                                   /*as_target=*/false, /*until_in=*/false));
  stmt->exprs.push_back(SkipName("if") ? ParseExpression() : nullptr);
  if (Current().IsName("recursive")) {
    Refuse("{% for … recursive %} is not supported; use a macro that calls itself", line);
  }
  const int macros_before = macros_;
  ++loops_;
  stmt->body = ParseTagBody({"endfor", "else"}, "for", line);
  --loops_;
  stmt->captures = macros_ > macros_before;
  if (Next().text == "else") {
    stmt->orelse = ParseTagBody({"endfor"}, "for", line);
    Next();
  }
  return stmt;
}

ExprPtr Parser::ParseTarget(bool until_in) {
  ExprPtr target = ParseTuple(/*conditional=*/true, /*explicit_parentheses=*/false,
                              /*as_target=*/true, until_in);
  CheckTarget(*target, /*namespaces=*/!until_in);
  return target;
}

StmtPtr Parser::ParseSet(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kSet, line);
  stmt->exprs.push_back(ParseTarget(/*until_in=*/false));
  if (SkipOperator("=")) {
    stmt->exprs.push_back(ParseTuple(/*conditional=*/true, /*explicit_parentheses=*/false,
                                     /*as_target=*/false, /*until_in=*/false));
    return stmt;
  }
  stmt->kind = StmtKind::kSetBlock;
  stmt->exprs.push_back(Current().IsOperator("|") ? ParseFilters(nullptr, false) : nullptr);
  ++generation_off_;
  stmt->body = ParseTagBody({"endset"}, "set", line);
  --generation_off_;
  Next();
  return stmt;
}

void Parser::ParseSignature(MacroDefinition* macro) {
  ExpectOperator("(");
  while (!Current().IsOperator(")")) {
    const int line = Current().line;
    macro->parameters.push_back(ExpectName("the name of a parameter"));
    if (SkipOperator("=")) {
      macro->defaults.push_back(ParseExpression());
    } else if (macro->parameters.back() == "caller") {
      Fail("the parameter \"caller\" needs a default", line);
    } else if (!macro->defaults.empty()) {
      Fail("a parameter without a default behind one that has a default", line);
    }
    if (!SkipOperator(",")) break;
  }
  ExpectOperator(")");
}

// A macro's body is a function of its own: loops around it do not reach in.
void Parser::ParseMacroBody(MacroDefinition* macro, Names ends, absl::string_view tag, int line) {
  const MacroScope outer = std::exchange(names_, MacroScope());
  const int outer_loops = std::exchange(loops_, 0);
  ++generation_off_;
  macro->body = ParseTagBody(ends, tag, line);
  --generation_off_;
  loops_ = outer_loops;
  macro->reads_caller = names_.caller;
  macro->reads_varargs = names_.varargs;
  macro->reads_kwargs = names_.kwargs;
  names_ = outer;
  ++macros_;
}

StmtPtr Parser::ParseMacro(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kMacro, line);
  stmt->macro = std::make_unique<MacroDefinition>();
  stmt->macro->name = ExpectName("the name of the macro");
  ParseSignature(stmt->macro.get());
  ParseMacroBody(stmt->macro.get(), {"endmacro"}, "macro", line);
  Next();
  return stmt;
}

StmtPtr Parser::ParseCallBlock(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kCallBlock, line);
  stmt->macro = std::make_unique<MacroDefinition>();
  if (Current().IsOperator("(")) ParseSignature(stmt->macro.get());
  stmt->exprs.push_back(ParseExpression());
  if (stmt->exprs[0]->kind != ExprKind::kCall) Fail("{% call %} needs the call of a macro", line);
  ParseMacroBody(stmt->macro.get(), {"endcall"}, "call", line);
  Next();
  return stmt;
}

StmtPtr Parser::ParseFilterBlock(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kFilter, line);
  stmt->exprs.push_back(ParseFilters(nullptr, /*first_is_bare=*/true));
  ++generation_off_;
  stmt->body = ParseTagBody({"endfilter"}, "filter", line);
  --generation_off_;
  Next();
  return stmt;
}

StmtPtr Parser::ParseWith(int line) {
  StmtPtr stmt = MakeStmt(StmtKind::kWith, line);
  while (Current().kind != TokenKind::kBlockEnd) {
    if (!stmt->exprs.empty()) ExpectOperator(",");
    ExprPtr target = Make(ExprKind::kName, Current().line);
    target->name = ExpectName("the name of a variable");
    stmt->exprs.push_back(std::move(target));
    ExpectOperator("=");
    stmt->exprs.push_back(ParseExpression());
  }
  stmt->body = ParseTagBody({"endwith"}, "with", line);
  Next();
  return stmt;
}

StmtPtr Parser::ParseGeneration(int line) {
  if (generation_off_ > 0) {
    Refuse(
        "{% generation %} inside of a macro, a set block, a filter or another {% generation %} "
        "is not supported: where its text ends up is not known",
        line);
  }
  StmtPtr stmt = MakeStmt(StmtKind::kGeneration, line);
  const int outer_loops = std::exchange(loops_, 0);
  ++generation_off_;
  stmt->body = ParseTagBody({"endgeneration"}, "generation", line);
  --generation_off_;
  loops_ = outer_loops;
  Next();
  return stmt;
}

StmtPtr Parser::ParseLoopControl(StmtKind kind, absl::string_view tag, int line) {
  if (loops_ == 0) Fail(absl::StrCat("{% ", tag, " %} outside of a loop"), line);
  return MakeStmt(kind, line);
}

}  // namespace retort::text::jinja
