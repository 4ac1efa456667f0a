// a.b, a[b] and a[b:c:d], with the rules of Jinja's sandbox.
#pragma once

#include "absl/strings/string_view.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// A method or attribute of `object`, else its item `name`. Undefined if it has neither, or if the
// sandbox forbids it (names of Python's internals, methods that change a list or dict): using that
// says why. Throws for an undefined `object`.
Value GetAttribute(Runtime& runtime, const Value& object, absl::string_view name);

// The item at `key`, else the attribute of that name. Undefined as above.
Value GetItem(Runtime& runtime, const Value& object, const Value& key);

// Only the attribute, as the filter `attr` wants it.
Value GetOnlyAttribute(Runtime& runtime, const Value& object, absl::string_view name);

// Python's object[begin:end:step]; an absent bound is None. Strings are cut at code points.
Value GetSlice(Runtime& runtime, const Value& object, const Value& begin, const Value& end,
               const Value& step);

}  // namespace retort::text::jinja
