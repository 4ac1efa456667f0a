// Tokens -> tree, by Jinja's grammar. Whatever it does not have is refused by name.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/limits.h"
#include "common/text/jinja/token.h"

namespace retort::text::jinja {

// One template. Throws Failure with the line.
class Parser {
 public:
  Parser(std::vector<Token> tokens, const Limits& limits)
      : tokens_(std::move(tokens)), limits_(limits) {}

  Block Parse();

 private:
  using Names = std::initializer_list<absl::string_view>;

  // What the names inside of a macro's body say about it.
  struct MacroScope {
    bool caller = false, varargs = false, kwargs = false;
  };

  // ---- The token stream: parser.cc ----
  const Token& Current() const { return tokens_[at_]; }
  const Token& Look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token Next();
  bool SkipName(absl::string_view name);
  bool SkipOperator(absl::string_view op);
  void ExpectOperator(absl::string_view op);
  std::string ExpectName(absl::string_view what);
  void ExpectBlockEnd();
  bool CurrentIsAnyName(Names names) const;
  [[noreturn]] void Unexpected(absl::string_view expected) const;

  // ---- Statements: statement_parser.cc ----
  Block ParseBody(Names ends, absl::string_view tag, int line);
  Block ParseTagBody(Names ends, absl::string_view tag, int line);
  StmtPtr ParseStatement(const Token& tag);
  StmtPtr ParseIf(int line);
  StmtPtr ParseFor(int line);
  StmtPtr ParseSet(int line);
  StmtPtr ParseMacro(int line);
  StmtPtr ParseCallBlock(int line);
  StmtPtr ParseFilterBlock(int line);
  StmtPtr ParseWith(int line);
  StmtPtr ParseGeneration(int line);
  StmtPtr ParseLoopControl(StmtKind kind, absl::string_view tag, int line);
  void ParseSignature(MacroDefinition* macro);
  void ParseMacroBody(MacroDefinition* macro, Names ends, absl::string_view tag, int line);
  ExprPtr ParseTarget(bool until_in);

  // ---- Expressions: expression_parser.cc ----
  ExprPtr ParseExpression(bool conditional = true);
  ExprPtr ParseConditional();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter = true);
  ExprPtr ParsePrimary(bool as_target = false);
  ExprPtr ParseName(bool as_target);
  ExprPtr ParseNumber();
  ExprPtr ParseString();
  ExprPtr ParseListLiteral();
  ExprPtr ParseDictLiteral();
  ExprPtr ParsePostfix(ExprPtr expr);
  ExprPtr ParseFilterExpr(ExprPtr expr);
  ExprPtr ParseSubscript(ExprPtr expr);
  ExprPtr ParseSlice(ExprPtr object, ExprPtr begin, int line);
  ExprPtr ParseFilters(ExprPtr input, bool first_is_bare);
  ExprPtr ParseTest(ExprPtr input);
  void ParseArguments(CallArguments* call);
  void ParseArgument(CallArguments* call);
  ExprPtr ParseTuple(bool conditional, bool explicit_parentheses, bool as_target, bool until_in);
  bool AtTupleEnd(bool until_in) const;
  std::string ParseDottedName(absl::string_view what);

  ExprPtr Make(ExprKind kind, int line, std::string name = "") const;
  void Adopt(Expr* parent, ExprPtr child) const;
  void AdoptCall(Expr* parent, CallArguments call) const;
  ExprPtr MakeBinary(ExprKind kind, int line, std::string op, ExprPtr left, ExprPtr right) const;

  // Throws when the source nests deeper than Limits::max_nesting.
  class Nesting {
   public:
    explicit Nesting(Parser& parser);
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  const Limits limits_;
  size_t at_ = 0;
  int nesting_ = 0;
  int conditional_ = 0;  // Inside of an `if`: unknown filters and tests wait until they are used.
  int loops_ = 0;        // Around the current tag, inside of the current macro.
  int generation_off_ = 0;  // Inside of a macro, set block, filter or generation block.
  int macros_ = 0;          // Parsed so far.
  MacroScope names_;        // Of the innermost macro.
};

}  // namespace retort::text::jinja
