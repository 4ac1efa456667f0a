#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/evaluator.h"

namespace retort::text::jinja {
namespace {

bool HasParameter(const MacroDefinition& definition, absl::string_view name) {
  const auto& names = definition.parameters;
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string NameOf(const MacroDefinition& definition) {
  return definition.name.empty() ? "the body of a call block"
                                 : absl::StrCat("macro \"", Printable(definition.name), "\"");
}

}  // namespace

Arguments Evaluator::EvaluateArguments(const CallArguments& call) {
  Arguments arguments;
  for (const ExprPtr& expr : call.positional) arguments.positional.push_back(Evaluate(*expr));
  if (call.star != nullptr) {
    for (const Value& item : Iterate(runtime_, Evaluate(*call.star))) {
      arguments.positional.push_back(item);
    }
  }
  for (const auto& [name, expr] : call.keyword) {
    arguments.keyword.emplace_back(name, Evaluate(*expr));
  }
  if (call.double_star == nullptr) return arguments;
  const Value more = Evaluate(*call.double_star);
  if (!more.Is(Kind::kDict)) Fail("** needs a dict");
  for (const auto& [key, value] : more.As<DictObject>()->entries) {
    runtime_.Charge(1 + static_cast<int64_t>(arguments.keyword.size() / 16));
    if (!key.IsString()) Fail("** needs a dict whose keys are strings");
    for (const auto& other : arguments.keyword) {
      if (other.first == key.text()) {
        Fail(absl::StrCat("argument \"", Printable(key.text()), "\" is given twice"));
      }
    }
    runtime_.ChargeBytes(key.text().size());
    arguments.keyword.emplace_back(key.text(), value);
  }
  return arguments;
}

Value Evaluator::Call(const Value& callee, const Arguments& arguments) {
  runtime_.Charge();
  switch (callee.kind()) {
    case Kind::kMacro:
      return CallMacro(*callee.As<MacroObject>(), arguments);
    case Kind::kMethod:
    case Kind::kFunction: {
      const auto* const callable = callee.As<CallableObject>();
      return callable->call(runtime_, callable->self, arguments);
    }
    case Kind::kJoiner: {
      NoArguments("the joiner", arguments);
      auto* const joiner = callee.As<JoinerObject>();
      return std::exchange(joiner->used, true) ? joiner->separator : runtime_.String("");
    }
    case Kind::kLoop:
      Refuse("a recursive loop is not supported; use a macro that calls itself");
    default:
      RequireDefined(callee);
      Fail(absl::StrCat("a value of type ", TypeName(callee), " cannot be called"));
  }
}

Value Evaluator::CallMacro(const MacroObject& macro, const Arguments& arguments) {
  const Runtime::Depth depth(runtime_);
  auto* const scope = runtime_.New<Scope>(macro.closure);
  Scope* const caller_scope = std::exchange(scope_, scope);
  std::string text;
  std::string* const caller_out = std::exchange(out_, &text);
  try {
    BindMacro(*macro.definition, arguments, scope);
    Execute(macro.definition->body);
  } catch (...) {
    scope_ = caller_scope;
    out_ = caller_out;
    throw;
  }
  scope_ = caller_scope;
  out_ = caller_out;
  return runtime_.String(std::move(text));
}

// The arguments first, then the defaults in order. A default sees the parameters that have a value
// by then; of the others not even a variable of the same name outside.
void Evaluator::BindMacro(const MacroDefinition& definition, const Arguments& arguments,
                          Scope* scope) {
  const size_t count = definition.parameters.size();
  const size_t without_default = count - definition.defaults.size();
  std::vector<bool> used(arguments.keyword.size(), false);
  std::vector<size_t> absent;
  for (size_t i = 0; i < count; ++i) {
    const std::string& name = definition.parameters[i];
    if (i < arguments.positional.size()) {
      scope->Set(name, arguments.positional[i]);
      continue;
    }
    runtime_.Charge(1 + static_cast<int64_t>(arguments.keyword.size() / 16));
    const auto it = std::find_if(arguments.keyword.begin(), arguments.keyword.end(),
                                 [&](const auto& argument) { return argument.first == name; });
    if (it != arguments.keyword.end()) {
      used[static_cast<size_t>(it - arguments.keyword.begin())] = true;
      scope->Set(name, it->second);
    } else {
      absent.push_back(i);
      scope->Set(name, runtime_.Undefined(
                           absl::StrCat("parameter \"", Printable(name), "\" was not given")));
    }
  }
  for (const size_t i : absent) {
    if (i < without_default) continue;
    scope->Set(definition.parameters[i], Evaluate(*definition.defaults[i - without_default]));
  }
  BindSpecial(definition, arguments, used, scope);
}

// caller, kwargs and varargs: they exist where the macro's body names them.
void Evaluator::BindSpecial(const MacroDefinition& definition, const Arguments& arguments,
                            const std::vector<bool>& used, Scope* scope) {
  const bool wants_caller = definition.reads_caller && !HasParameter(definition, "caller");
  if (wants_caller) scope->Set("caller", runtime_.Undefined("no caller is defined"));
  std::vector<std::pair<Value, Value>> rest;
  for (size_t i = 0; i < arguments.keyword.size(); ++i) {
    const auto& [name, value] = arguments.keyword[i];
    if (used[i]) continue;
    if (wants_caller && name == "caller") {
      scope->Set("caller", value);
    } else if (definition.reads_kwargs) {
      rest.emplace_back(runtime_.String(name), value);
    } else {
      Fail(absl::StrCat(NameOf(definition), " has no parameter \"", Printable(name), "\""));
    }
  }
  if (definition.reads_kwargs && !HasParameter(definition, "kwargs")) {
    scope->Set("kwargs", runtime_.Dict(std::move(rest)));
  }
  const size_t count = definition.parameters.size();
  if (definition.reads_varargs && !HasParameter(definition, "varargs")) {
    const auto& all = arguments.positional;
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(std::min(count, all.size()));
    scope->Set("varargs", runtime_.Tuple({first, all.end()}));
  } else if (arguments.positional.size() > count) {
    Fail(absl::StrCat(NameOf(definition), " takes at most ", count, " arguments, not ",
                      arguments.positional.size()));
  }
}

}  // namespace retort::text::jinja
