// Text that goes into a protobuf string. A proto3 string that is not UTF-8 cannot be parsed by the
// receiver, which would cost the stream; error texts may quote any bytes.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace retort::worker {

// Bound of the `message` fields of failures in control.proto.
inline constexpr size_t kMaxFailureBytes = 4096;

// `text` with every byte that is not part of valid UTF-8 as '?', cut to `max_bytes` at a character
// boundary.
std::string ReportText(absl::string_view text, size_t max_bytes);

}  // namespace retort::worker
