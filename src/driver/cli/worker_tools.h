// `retort generate`, `score`, `chat` and so on are the program retort-worker that lies beside
// `retort`: model code links Torch, which the driver does not.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace retort::driver {

// Replaces this process by `retort-worker arguments…`. Returns only when that is not possible:
// NOT_FOUND when the program is not beside `retort`.
absl::Status ExecWorkerTool(const std::vector<std::string>& arguments);

}  // namespace retort::driver
