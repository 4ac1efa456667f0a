// The arguments of a call, and how a builtin reads them: by position or by name, as Python binds
// them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

// A filter (on `self`), a test (returns a bool), a method (of `self`) or a function (no self).
using Builtin = Value (*)(Runtime& runtime, const Value& self, const Arguments& arguments);

struct NamedBuiltin {
  absl::string_view name;
  Builtin call;
};

// The arguments of one builtin, bound to its parameters' names. Getters return the fallback where
// an argument is absent, and throw naming the parameter where it has the wrong type.
class Bound {
 public:
  // Throws when there are too many, an unknown name, one twice, or one of the first `required` is
  // missing. `callee` is what messages call it.
  Bound(absl::string_view callee, const Arguments& arguments,
        std::initializer_list<absl::string_view> names, size_t required = 0);

  // nullptr when absent.
  const Value* Find(size_t parameter) const { return values_[parameter]; }
  const Value& At(size_t parameter) const { return *values_[parameter]; }  // A required one.
  bool Flag(size_t parameter, bool fallback) const;
  int64_t Int(size_t parameter, int64_t fallback) const;
  absl::string_view Text(size_t parameter, absl::string_view fallback) const;  // Not copied.
  bool IsNone(size_t parameter) const;  // Absent counts as None.

 private:
  [[noreturn]] void WrongType(size_t parameter, absl::string_view expected) const;

  absl::string_view callee_;
  std::vector<absl::string_view> names_;
  std::vector<const Value*> values_;
};

// Throws unless `arguments` is empty.
void NoArguments(absl::string_view callee, const Arguments& arguments);

}  // namespace retort::text::jinja
