// JSON text -> a value of the template.
#pragma once

#include "absl/strings/string_view.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// Objects keep the order of their keys, integers of any size their digits. Throws for what is not
// JSON, nests deeper than 64 levels or has a key twice; `name` stands for the text in messages.
Value FromJson(Runtime& runtime, absl::string_view json, absl::string_view name);

}  // namespace retort::text::jinja
