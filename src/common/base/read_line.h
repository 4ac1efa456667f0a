// Lines of a stream from outside.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "absl/status/statusor.h"

namespace retort {

// The next line, with the '\n' that ends it if one does, to `line`; false at the end of `in`.
// Errors: INVALID_ARGUMENT a line of more than `max_bytes`; DATA_LOSS the stream cannot be read.
absl::StatusOr<bool> ReadLine(std::istream& in, size_t max_bytes, std::string* line);

}  // namespace retort
