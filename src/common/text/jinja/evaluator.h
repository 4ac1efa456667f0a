// Runs a parsed template once.
#pragma once

#include <string>
#include <vector>

#include "common/text/jinja/ast.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/scope.h"
#include "common/text/jinja/template.h"

namespace retort::text::jinja {

class Evaluator {
 public:
  // `variables` is what the template finds outside of itself. Both outlive the evaluator.
  Evaluator(Runtime& runtime, Scope* variables) : runtime_(runtime), root_(variables) {}

  // Appends to `out`; `generation` gets where the texts of {% generation %} blocks lie in it.
  // Throws Failure.
  void Run(const Block& block, std::string* out, std::vector<ByteRange>* generation);

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  // ---- Statements: statements.cc ----
  Flow Execute(const Block& block);
  Flow ExecuteOne(const Stmt& stmt);
  Flow Dispatch(const Stmt& stmt);
  Flow ExecuteIf(const Stmt& stmt);
  Flow ExecuteFor(const Stmt& stmt);
  Flow ExecuteBodyOf(const Stmt& stmt, Scope* scope);
  Flow ExecuteCaptured(const Stmt& stmt);
  Flow ExecuteWith(const Stmt& stmt);
  Flow ExecuteGeneration(const Stmt& stmt);
  void ExecuteCallBlock(const Stmt& stmt);
  void FillLoop(const Stmt& stmt, LoopObject* loop);
  bool ExecuteIterations(const Stmt& stmt, LoopObject* loop);
  void Assign(const Expr& target, const Value& value);
  void Append(absl::string_view text);
  Value MakeMacro(const MacroDefinition& definition);

  // ---- Calls: calls.cc ----
  Arguments EvaluateArguments(const CallArguments& call);
  Value Call(const Value& callee, const Arguments& arguments);
  Value CallMacro(const MacroObject& macro, const Arguments& arguments);
  void BindMacro(const MacroDefinition& definition, const Arguments& arguments, Scope* scope);
  void BindSpecial(const MacroDefinition& definition, const Arguments& arguments,
                   const std::vector<bool>& used, Scope* scope);

  // ---- Expressions: expressions.cc ----
  Value Evaluate(const Expr& expr);
  Value EvaluateKind(const Expr& expr);
  Value EvaluateOperator(const Expr& expr);
  Value EvaluateName(const Expr& expr);
  Value EvaluateSequence(const Expr& expr, Kind kind);
  Value EvaluateDict(const Expr& expr);
  Value EvaluateSlice(const Expr& expr);
  Value EvaluateFilter(const Expr& expr);
  Value EvaluateTest(const Expr& expr);
  Value EvaluateConditional(const Expr& expr);
  Value EvaluateConcat(const Expr& expr);
  Value EvaluateCompare(const Expr& expr);

  Runtime& runtime_;
  Scope root_;
  Scope* scope_ = &root_;
  std::string* out_ = nullptr;
  std::vector<ByteRange>* generation_ = nullptr;
  Value block_text_;  // What the filter of a filter or set block is about to be applied to.
};

}  // namespace retort::text::jinja
