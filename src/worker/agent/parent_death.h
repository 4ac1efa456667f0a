// A child of the agent must not outlive it, even if the agent is killed with SIGKILL.
#pragma once

#include <cstdint>

namespace retort::worker {

// Every worker's main calls this first, with the pid that --parent-pid names (0: started by a
// person or by mpirun, do nothing). The kernel then sends SIGKILL when the thread that started this
// process ends; if the parent is gone already, the process exits at once with status 1.
void DieWithParent(int64_t expected_parent_pid);

}  // namespace retort::worker
