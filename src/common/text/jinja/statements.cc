#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/evaluator.h"
#include "common/text/jinja/print.h"

namespace retort::text::jinja {
namespace {

// Puts a member back when the block that changed it is left, by a throw too.
template <typename T>
class Restore {
 public:
  Restore(T* place, T value) : place_(place), before_(std::exchange(*place, value)) {}
  ~Restore() { *place_ = before_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T* const place_;
  const T before_;
};

}  // namespace

void Evaluator::Run(const Block& block, std::string* out, std::vector<ByteRange>* generation) {
  out_ = out;
  generation_ = generation;
  Execute(block);
}

Evaluator::Flow Evaluator::Execute(const Block& block) {
  for (const StmtPtr& stmt : block) {
    const Flow flow = ExecuteOne(*stmt);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::ExecuteOne(const Stmt& stmt) {
  runtime_.Charge();
  if (stmt.kind == StmtKind::kText) {
    Append(stmt.text);
    return Flow::kNormal;
  }
  try {
    const Runtime::Depth depth(runtime_);
    return Dispatch(stmt);
  } catch (Failure& failure) {
    if (failure.line == 0) failure.line = stmt.line;
    throw;
  }
}

Evaluator::Flow Evaluator::Dispatch(const Stmt& stmt) {
  switch (stmt.kind) {
    case StmtKind::kText:
      break;
    case StmtKind::kPrint:
      Append(ToText(runtime_, Evaluate(*stmt.exprs[0])));
      break;
    case StmtKind::kIf:
      return ExecuteIf(stmt);
    case StmtKind::kFor:
      return ExecuteFor(stmt);
    case StmtKind::kSet:
      Assign(*stmt.exprs[0], Evaluate(*stmt.exprs[1]));
      break;
    case StmtKind::kSetBlock:
    case StmtKind::kFilter:
      return ExecuteCaptured(stmt);
    case StmtKind::kMacro:
      scope_->Set(stmt.macro->name, MakeMacro(*stmt.macro));
      break;
    case StmtKind::kCallBlock:
      ExecuteCallBlock(stmt);
      break;
    case StmtKind::kWith:
      return ExecuteWith(stmt);
    case StmtKind::kGeneration:
      return ExecuteGeneration(stmt);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

void Evaluator::Append(absl::string_view text) {
  runtime_.ChargeBytes(text.size());
  if (out_->size() + text.size() > runtime_.limits().max_output_bytes) {
    Exhaust(absl::StrCat("the text made is longer than ", runtime_.limits().max_output_bytes,
                         " bytes"));
  }
  absl::StrAppend(out_, text);
}

// An `if` has no scope of its own.
Evaluator::Flow Evaluator::ExecuteIf(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches) {
    if (branch.condition == nullptr || Truth(Evaluate(*branch.condition))) {
      return Execute(branch.body);
    }
  }
  return Flow::kNormal;
}

// The condition sees the loop's variables and what is around the loop, not the loop itself.
void Evaluator::FillLoop(const Stmt& stmt, LoopObject* loop) {
  std::vector<Value> items = Iterate(runtime_, Evaluate(*stmt.exprs[1]));
  if (stmt.exprs[2] == nullptr) {
    loop->items = std::move(items);
    return;
  }
  loop->waiting = std::move(items);
  loop->passes = [this, &stmt, outer = scope_](const Value& item) {
    runtime_.Charge();
    Scope scope(outer);
    const Restore<Scope*> restore(&scope_, &scope);
    Assign(*stmt.exprs[0], item);
    return Truth(Evaluate(*stmt.exprs[2]));
  };
}

// As in Jinja, `else` is for a loop of which no iteration came to its end: one that `break` or
// `continue` cuts short does not count.
Evaluator::Flow Evaluator::ExecuteFor(const Stmt& stmt) {
  auto* const loop = runtime_.New<LoopObject>();
  FillLoop(stmt, loop);
  if (ExecuteIterations(stmt, loop)) return Flow::kNormal;
  Scope scope(scope_);
  const Restore<Scope*> restore(&scope_, &scope);
  return Execute(stmt.orelse);  // A break in it belongs to the loop around this one.
}

// Whether an iteration came to its end.
bool Evaluator::ExecuteIterations(const Stmt& stmt, LoopObject* loop) {
  Scope reused(scope_);
  Scope* const outer = scope_;
  bool completed = false;
  for (loop->index = 0; loop->Reach(loop->index); ++loop->index) {
    runtime_.Charge();
    // A macro that was made in an iteration keeps that iteration's variables.
    Scope* const scope = stmt.captures ? runtime_.New<Scope>(outer) : &reused;
    scope->Clear();
    scope->Set("loop", Value::Of(Kind::kLoop, loop));
    const Restore<Scope*> restore(&scope_, scope);
    Assign(*stmt.exprs[0], loop->items[loop->index]);
    const Flow flow = Execute(stmt.body);
    completed = completed || flow == Flow::kNormal;
    if (flow == Flow::kBreak) break;
  }
  loop->passes = [](const Value&) -> bool {
    Refuse("asking a loop that was left for more of its items is not supported");
  };
  return completed;
}

Evaluator::Flow Evaluator::ExecuteBodyOf(const Stmt& stmt, Scope* scope) {
  const Restore<Scope*> restore(&scope_, scope);
  return Execute(stmt.body);
}

// {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}.
Evaluator::Flow Evaluator::ExecuteCaptured(const Stmt& stmt) {
  std::string text;
  {
    const Restore<std::string*> restore(&out_, &text);
    const Flow flow = ExecuteBodyOf(stmt, runtime_.New<Scope>(scope_));
    if (flow != Flow::kNormal) return flow;
  }
  const bool is_set = stmt.kind == StmtKind::kSetBlock;
  const Expr* const filter = stmt.exprs[is_set ? 1 : 0].get();
  Value value = runtime_.String(std::move(text));
  if (filter != nullptr) {
    block_text_ = value;
    value = Evaluate(*filter);
  }
  if (is_set) {
    Assign(*stmt.exprs[0], value);
  } else {
    Append(ToText(runtime_, value));
  }
  return Flow::kNormal;
}

// The values are those of the scope outside: one variable does not see another.
Evaluator::Flow Evaluator::ExecuteWith(const Stmt& stmt) {
  auto* const scope = runtime_.New<Scope>(scope_);
  for (size_t i = 0; i < stmt.exprs.size(); i += 2) {
    scope->Set(stmt.exprs[i]->name, Evaluate(*stmt.exprs[i + 1]));
  }
  return ExecuteBodyOf(stmt, scope);
}

Evaluator::Flow Evaluator::ExecuteGeneration(const Stmt& stmt) {
  const size_t begin = out_->size();
  ExecuteBodyOf(stmt, runtime_.New<Scope>(scope_));
  generation_->push_back({begin, out_->size()});
  return Flow::kNormal;
}

Value Evaluator::MakeMacro(const MacroDefinition& definition) {
  auto* const macro = runtime_.New<MacroObject>();
  macro->definition = &definition;
  macro->closure = scope_;
  return Value::Of(Kind::kMacro, macro);
}

void Evaluator::ExecuteCallBlock(const Stmt& stmt) {
  const Expr& call = *stmt.exprs[0];
  const Value callee = Evaluate(*call.parts[0]);
  Arguments arguments = EvaluateArguments(call.call);
  arguments.keyword.emplace_back("caller", MakeMacro(*stmt.macro));
  Append(ToText(runtime_, Call(callee, arguments)));
}

void Evaluator::Assign(const Expr& target, const Value& value) {
  runtime_.Charge(scope_->reach() / 16);
  if (target.kind == ExprKind::kName) {
    scope_->Set(target.name, value);
    return;
  }
  if (target.kind == ExprKind::kNamespaceRef) {
    const Value* const found = scope_->Find(target.name);
    if (found == nullptr || !found->Is(Kind::kNamespace)) {
      Fail(absl::StrCat("\"", Printable(target.name), "\" is not a namespace; only the attributes ",
                        "of a namespace can be set"),
           target.line);
    }
    SetNamespaceKey(runtime_, found->As<DictObject>(), runtime_.String(target.attribute), value);
    return;
  }
  const std::vector<Value> items = Iterate(runtime_, value);
  if (items.size() != target.parts.size()) {
    Fail(absl::StrCat("cannot unpack ", items.size(), " values into ", target.parts.size(),
                      " variables"),
         target.line);
  }
  for (size_t i = 0; i < items.size(); ++i) Assign(*target.parts[i], items[i]);
}

}  // namespace retort::text::jinja
