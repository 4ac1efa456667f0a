// A text that is given on the command line.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace retort {

// `argument`, or all of standard input (at most 64 MiB) where it is "-". With
// `replace_invalid_utf8` every maximal part that is not UTF-8 becomes U+FFFD; else nothing is
// checked here. Errors: those of ReadFile, with "standard input" in front.
absl::StatusOr<std::string> TextArgument(const std::string& argument, bool replace_invalid_utf8);

}  // namespace retort
