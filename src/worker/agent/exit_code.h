// What a worker's exit status means to the agent and to a person.
#pragma once

#include "absl/status/status.h"

namespace retort::worker {

inline constexpr int kExitOk = 0;       // Ended because it was asked to.
inline constexpr int kExitFailure = 1;  // Anything else.
inline constexpr int kExitBadInput =
    2;  // A file or an option is wrong; starting again does not help.

// OK -> 0; INVALID_ARGUMENT, NOT_FOUND, OUT_OF_RANGE, DATA_LOSS, UNIMPLEMENTED -> 2; every other
// error -> 1.
int ExitCodeFor(const absl::Status& result);

}  // namespace retort::worker
