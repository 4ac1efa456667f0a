// The named sets of characters of Oniguruma's patterns, in the words of PCRE2.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace retort::text {

// The inside of a class that \d, \h, \s and \w stand for, by their letter; empty for another one.
std::string ClassOf(char letter, bool in_class);

// The inside of a class that [[:name:]] stands for; empty for a name that is not known here.
std::string PosixClass(absl::string_view name);

// What PCRE2 calls the property of \p{name}. A name that is not known here is taken for a script:
// PCRE2 refuses it where it is none.
std::string PropertyOf(absl::string_view name);

}  // namespace retort::text
