// Python's ==, < and `in`.
#pragma once

#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// Never throws for a mismatch of types: those are unequal. 1, 1.0 and True are equal.
bool Equal(Runtime& runtime, const Value& a, const Value& b);

// a < b. Throws for types that Python does not order: a string and a number, None, a dict.
bool Less(Runtime& runtime, const Value& a, const Value& b);

// `op` is one of == != < <= > >= in, "not in".
bool Compare(Runtime& runtime, absl::string_view op, const Value& a, const Value& b);

// `item in container`.
bool Contains(Runtime& runtime, const Value& container, const Value& item);

// Whether the value may be the key of a dict; throws if not.
void RequireHashable(Runtime& runtime, const Value& key);

// The value at `key`, nullptr if there is none.
const Value* FindKey(Runtime& runtime, const DictObject& dict, const Value& key);
const Value* FindKey(Runtime& runtime, const DictObject& dict, absl::string_view key);

// Puts `value` at `key`, in place if the key is there.
void SetKey(Runtime& runtime, DictObject* dict, const Value& key, const Value& value);
// The same for a namespace, which keeps out names that begin with _, as Transformers has it.
void SetNamespaceKey(Runtime& runtime, DictObject* dict, const Value& key, const Value& value);

}  // namespace retort::text::jinja
