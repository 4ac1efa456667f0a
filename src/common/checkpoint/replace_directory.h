// The last act of every staged folder: taking its final name.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace retort::checkpoint {

// Renames `staging` to `target` and fsyncs the parent. If `target` exists the two are exchanged
// atomically and what it held is deleted afterwards: at no moment is there no `target`.
absl::Status ReplaceDirectory(const std::string& staging, const std::string& target);

}  // namespace retort::checkpoint
