// A folder that is being made does not outlive the process that makes it.
#pragma once

#include <signal.h>

#include <string>
#include <thread>

#include "common/base/mutex.h"
#include "common/base/unique_fd.h"

namespace retort::worker {

// While it lives, SIGINT, SIGTERM and SIGHUP remove the folder that is watched and then end the
// process with 128 + the signal's number. At most one at a time.
class StagingGuard {
 public:
  StagingGuard();
  ~StagingGuard();
  StagingGuard(const StagingGuard&) = delete;
  StagingGuard& operator=(const StagingGuard&) = delete;

  void Watch(const std::string& folder);

 private:
  void Wait();

  Mutex mutex_;
  std::string folder_ ABSL_GUARDED_BY(mutex_);
  UniqueFd signals_, told_;  // Both ends of a pipe: a byte for each signal, 0 for the end.
  struct sigaction before_[3];
  std::thread waiter_;
};

}  // namespace retort::worker
