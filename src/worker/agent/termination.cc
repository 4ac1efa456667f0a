#include "worker/agent/termination.h"

#include <pthread.h>
#include <signal.h>

#include "common/base/check.h"

namespace retort::worker {

void PrepareTerminationSignals() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  RETORT_CHECK(pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0);
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
}

}  // namespace retort::worker
