// The callable and stateful values of a rendering.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "common/text/jinja/arguments.h"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

class Scope;

// kMethod (with the value it belongs to) and kFunction.
struct CallableObject : Object {
  Value self;
  Builtin call = nullptr;
  std::string name;
};

struct MacroObject : Object {
  const MacroDefinition* definition = nullptr;  // Of the template, which outlives the rendering.
  Scope* closure = nullptr;                     // Where it was made.
};

// The items of a loop with a condition of its own are chosen no sooner than somebody asks for them:
// the body before may change what the condition sees.
struct LoopObject : Object {
  // Whether there is an item `at`.
  bool Reach(size_t at) {
    while (items.size() <= at && next < waiting.size()) {
      const Value item = waiting[next++];
      if (passes(item)) items.push_back(item);
    }
    return items.size() > at;
  }
  size_t Length() {
    Reach(std::numeric_limits<size_t>::max());
    return items.size();
  }

  std::vector<Value> items;  // Those chosen so far.
  std::vector<Value> waiting;
  size_t next = 0;  // Of `waiting`.
  std::function<bool(const Value&)> passes;
  size_t index = 0;
  bool has_changed = false;  // loop.changed() was called, with:
  std::vector<Value> changed;
};

struct CyclerObject : Object {
  std::vector<Value> items;
  size_t position = 0;
};

struct JoinerObject : Object {
  Value separator;
  bool used = false;
};

}  // namespace retort::text::jinja
