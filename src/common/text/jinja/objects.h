// The callable and stateful values of a rendering.
#pragma once

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

struct LoopObject : Object {
  std::vector<Value> items;
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
