// A process named so that a reused process id is not mistaken for it. Internal to collective/.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace retort::collective {

struct ProcessIdentity {
  int64_t pid = 0;          // 0: a thread of this process; it is never reported dead.
  uint64_t start_time = 0;  // In clock ticks since boot, from /proc/PID/stat.
};

// Of the calling process. Errors: INTERNAL /proc is not readable.
absl::StatusOr<ProcessIdentity> OwnProcess();

// False once the process has ended, also while it is a zombie that its parent has not collected.
bool IsAlive(const ProcessIdentity& process);

}  // namespace retort::collective
