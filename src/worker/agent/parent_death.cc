#include "worker/agent/parent_death.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/base/check.h"

namespace retort::worker {

void DieWithParent(int64_t expected_parent_pid) {
  if (expected_parent_pid == 0) return;
  RETORT_CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
  // The parent may have died before the line above; then the signal never comes.
  if (getppid() != expected_parent_pid) _exit(1);
}

}  // namespace retort::worker
