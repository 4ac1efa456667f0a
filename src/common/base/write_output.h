// Output of the command-line tools, which must not be lost in silence.
#pragma once

#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort {

// Writes and flushes. RESOURCE_EXHAUSTED if the stream does not take it: a full disk, a reader that
// is gone.
absl::Status WriteOutput(absl::string_view text, std::ostream& out);

}  // namespace retort
