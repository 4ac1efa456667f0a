// A parsed template. Immutable once parsed, so threads share it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/text/jinja/arguments.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// Behind each kind: what `parts` holds. A part may be null only where it says so.
enum class ExprKind : uint8_t {
  kConstant,     // none; `constant`
  kName,         // none; `name`
  kList,         // items
  kTuple,        // items
  kDict,         // key, value, key, value, ...
  kAttribute,    // object; `name`
  kSubscript,    // object, key
  kSlice,        // object, begin or null, end or null, step or null
  kCall,         // callee; `call`
  kFilter,       // input, null in a filter block; `name`, `call`
  kTest,         // input; `name`, `call`
  kNot,          // operand
  kNegative,     // operand
  kPositive,     // operand
  kAnd,          // left, right
  kOr,           // left, right
  kConditional,  // condition, then, else or null
  kConcat,       // operands of ~
  kBinary,       // left, right; `name` is the operator
  kCompare,      // operands; `operators` between them
  kNamespaceRef  // none; `name`.`attribute`, only as a target of set
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr star;         // *list, or null.
  ExprPtr double_star;  // **dict, or null.
};

struct Expr {
  ExprKind kind;
  int line;
  int depth = 1;  // Of the tree below: bounds recursion, of destructors too.
  std::string name;
  std::string attribute;
  std::vector<ExprPtr> parts;
  std::vector<std::string> operators;
  CallArguments call;
  Builtin builtin = nullptr;  // kFilter, kTest: null for a name that is refused when it is used.
  Value constant;
  std::unique_ptr<Object> constant_object;  // What `constant` refers to.
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

enum class StmtKind : uint8_t {
  kText,        // `text`
  kPrint,       // value
  kIf,          // `branches`
  kFor,         // target, iterable, condition or null; body, orelse
  kSet,         // target, value
  kSetBlock,    // target, filter or null; body
  kMacro,       // `macro`
  kCallBlock,   // call; `macro` is the caller
  kFilter,      // filter; body
  kWith,        // target, value, target, value, ...; body
  kGeneration,  // body
  kBreak,
  kContinue,
};

struct Branch {
  ExprPtr condition;  // Null: else.
  Block body;
};

struct MacroDefinition {
  std::string name;  // Empty: the body of a call block.
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // Of the last parameters.
  Block body;
  bool reads_caller = false;
  bool reads_varargs = false;
  bool reads_kwargs = false;
};

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;
  std::vector<ExprPtr> exprs;
  std::vector<Branch> branches;
  Block body;
  Block orelse;
  std::unique_ptr<MacroDefinition> macro;
  bool captures = false;  // kFor: a macro is made in the body and keeps an iteration's variables.
};

}  // namespace retort::text::jinja
