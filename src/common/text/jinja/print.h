// Values as text: what {{ }} prints, Python's repr, JSON.
#pragma once

#include <string>

#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// Python's str(value); "" of an undefined one. Throws for values whose text in Python is an
// address.
std::string ToText(Runtime& runtime, const Value& value);

// Python's repr(value): what str() of a list shows of its items.
std::string Repr(Runtime& runtime, const Value& value);

// The arguments of json.dumps.
struct JsonStyle {
  bool ensure_ascii = false;
  bool multiline = false;  // Each item on its own line, behind `indent` once a level.
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// Throws for what Python's json refuses: an undefined value, a namespace, a generator.
std::string ToJson(Runtime& runtime, const Value& value, const JsonStyle& style);

}  // namespace retort::text::jinja
