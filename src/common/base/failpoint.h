// Named places where a test makes a process die or an operation fail. Armed only by the --failpoint
// flag of a program; an unarmed failpoint costs one atomic load.
//   --failpoint=rollout.generate=kill@3     SIGKILL itself at the third hit
//   --failpoint=checkpoint.fsync=error      every hit returns an error
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort {

// Parses "name=action" or "name=action@hit"; actions: kill (SIGKILL), stop (SIGSTOP), error
// (INTERNAL status). INVALID_ARGUMENT names the part that is wrong. Call before threads start.
absl::Status ArmFailpoints(const std::vector<std::string>& specs);

// What the code calls at the place. OK unless armed with `error`.
absl::Status Failpoint(absl::string_view name);

}  // namespace retort
