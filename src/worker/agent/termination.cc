#include "worker/agent/termination.h"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "common/base/check.h"

namespace retort::worker {
namespace {

sigset_t TerminationSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void PrepareTerminationSignals() {
  const sigset_t blocked = TerminationSet();
  RETORT_CHECK(pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0);
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
}

UniqueFd TerminationSignalFd() {
  const sigset_t set = TerminationSet();
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  RETORT_CHECK(fd.valid());
  return fd;
}

}  // namespace retort::worker
