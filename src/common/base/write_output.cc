#include "common/base/write_output.h"

namespace retort {

absl::Status WriteOutput(absl::string_view text, std::ostream& out) {
  out << text << std::flush;
  if (out) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the output cannot be written: the disk is full, or its reader is gone");
}

}  // namespace retort
