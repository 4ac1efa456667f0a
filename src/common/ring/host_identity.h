// Which processes can share memory: those whose host identity is the same.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retort::ring {

inline constexpr int kMaxHostIdentityBytes = 128;

// Of the calling process: the machine's boot and its network namespace, because the broker's
// abstract socket is seen inside one network namespace only. Two containers of one machine
// therefore count as two hosts unless they share a network. Errors: those of reading /proc.
absl::StatusOr<std::string> OwnHostIdentity();

// INVALID_ARGUMENT unless `identity`, given by a person, is 1 to 128 printable ASCII characters
// without spaces.
absl::Status CheckHostIdentity(absl::string_view identity);

}  // namespace retort::ring
