// Methods of lists, tuples, ranges, dicts, `loop` and cyclers. Those that change a list or a dict
// do not exist: the sandbox forbids them.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/objects.h"

namespace retort::text::jinja {
namespace {

Value Index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("index", arguments, {"value", "start", "end"}, 1);
  const auto& items = self.As<SequenceObject>()->items;
  const auto count = static_cast<int64_t>(items.size());
  const auto clamp = [count](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + count : at, 0, count);
  };
  for (int64_t i = clamp(bound.Int(1, 0)); i < clamp(bound.Int(2, count)); ++i) {
    if (Equal(runtime, items[static_cast<size_t>(i)], bound.At(0))) return Value::Int(i);
  }
  Fail("index: the value does not occur");
}

Value Count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("count", arguments, {"value"}, 1);
  const auto& items = self.As<SequenceObject>()->items;
  return Value::Int(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return Equal(runtime, item, bound.At(0));
  }));
}

Value CopyList(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("copy", arguments);
  if (!self.Is(Kind::kList)) Fail(absl::StrCat("a ", TypeName(self), " has no \"copy\""));
  return runtime.List(self.As<SequenceObject>()->items);
}

Value Get(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Bound bound("get", arguments, {"key", "default"}, 1);
  RequireHashable(runtime, bound.At(0));
  const Value* const found = FindKey(runtime, *self.As<DictObject>(), bound.At(0));
  if (found != nullptr) return *found;
  return bound.Find(1) == nullptr ? Value::None() : bound.At(1);
}

Value View(Runtime& runtime, const char* name, std::vector<Value> items) {
  const Value view = runtime.Sequence(Kind::kView, std::move(items));
  view.As<SequenceObject>()->view = name;
  return view;
}

Value Items(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("items", arguments);
  std::vector<Value> items;
  for (const auto& [key, value] : self.As<DictObject>()->entries) {
    items.push_back(runtime.Tuple({key, value}));
  }
  return View(runtime, "dict_items", std::move(items));
}

Value Keys(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("keys", arguments);
  std::vector<Value> items;
  for (const auto& entry : self.As<DictObject>()->entries) items.push_back(entry.first);
  return View(runtime, "dict_keys", std::move(items));
}

Value Values(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("values", arguments);
  std::vector<Value> items;
  for (const auto& entry : self.As<DictObject>()->entries) items.push_back(entry.second);
  return View(runtime, "dict_values", std::move(items));
}

Value CopyDict(Runtime& runtime, const Value& self, const Arguments& arguments) {
  NoArguments("copy", arguments);
  return runtime.Dict(self.As<DictObject>()->entries);
}

// loop.cycle(a, b, ...)
Value Cycle(Runtime&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) Fail("loop.cycle needs values");
  return arguments.positional[self.As<LoopObject>()->index % arguments.positional.size()];
}

// loop.changed(...): whether the values differ from those of the last call.
Value Changed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  auto* const loop = self.As<LoopObject>();
  const auto& now = arguments.positional;
  bool changed = !loop->has_changed || loop->changed.size() != now.size();
  for (size_t i = 0; !changed && i < now.size(); ++i) {
    changed = !Equal(runtime, loop->changed[i], now[i]);
  }
  loop->has_changed = true;
  loop->changed = now;
  return Value::Bool(changed);
}

Value NextOfCycler(Runtime&, const Value& self, const Arguments& arguments) {
  NoArguments("next", arguments);
  auto* const cycler = self.As<CyclerObject>();
  const Value item = cycler->items[cycler->position];
  cycler->position = (cycler->position + 1) % cycler->items.size();
  return item;
}

Value ResetCycler(Runtime&, const Value& self, const Arguments& arguments) {
  NoArguments("reset", arguments);
  self.As<CyclerObject>()->position = 0;
  return Value::None();
}

}  // namespace

absl::Span<const NamedBuiltin> SequenceMethods() {
  static constexpr NamedBuiltin kMethods[] = {
      {"index", Index}, {"count", Count}, {"copy", CopyList}};
  return kMethods;
}

absl::Span<const NamedBuiltin> DictMethods() {
  static constexpr NamedBuiltin kMethods[] = {
      {"get", Get}, {"items", Items}, {"keys", Keys}, {"values", Values}, {"copy", CopyDict}};
  return kMethods;
}

absl::Span<const NamedBuiltin> LoopMethods() {
  static constexpr NamedBuiltin kMethods[] = {
      {"cycle", Cycle}, {"changed", Changed}, {"next", NextOfCycler}, {"reset", ResetCycler}};
  return kMethods;
}

}  // namespace retort::text::jinja
