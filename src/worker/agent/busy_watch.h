// Whether the thread that does a worker's work computes. Units of work can take long, a micro-batch
// of a large model minutes; what tells such a unit from a hang is the CPU time that its thread
// uses. A thread that waits uses none, and in a process that is stopped nobody asks.
#pragma once

#include <time.h>

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace retort::worker {

// Thread-safe.
class BusyWatch {
 public:
  explicit BusyWatch(absl::Duration interval);
  ~BusyWatch();

  // Watches the calling thread from now on. After every interval in which it has computed,
  // `on_busy` is called on an internal thread with its CPU time since Begin; it must not block and
  // not call the watch.
  void Begin(std::function<void(absl::Duration)> on_busy);
  // No call runs any more when it returns.
  void End();

 private:
  void Run();
  const absl::Duration interval_;
  Mutex mutex_;  // Held while on_busy_ runs.
  CondVar changed_;
  std::function<void(absl::Duration)> on_busy_ ABSL_GUARDED_BY(mutex_);  // Empty: nobody works.
  clockid_t watched_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration began_ ABSL_GUARDED_BY(mutex_);
  absl::Duration seen_ ABSL_GUARDED_BY(mutex_);
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace retort::worker
