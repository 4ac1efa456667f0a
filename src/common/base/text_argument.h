// A text that is given on the command line.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace retort {

// Everything up to its end; read from the descriptor, which may be of a socket. Errors begin with
// "standard input": OUT_OF_RANGE if there are more than `max_bytes`, else errno's text.
absl::StatusOr<std::string> ReadStandardInput(int64_t max_bytes);

// `argument`, or all of standard input (at most 64 MiB) where it is "-". With
// `replace_invalid_utf8` every maximal part that is not UTF-8 becomes U+FFFD; else nothing is
// checked here. Errors: those of ReadStandardInput.
absl::StatusOr<std::string> TextArgument(const std::string& argument, bool replace_invalid_utf8);

}  // namespace retort
