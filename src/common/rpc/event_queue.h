// An unbounded queue between the server's thread and the one thread that acts on events.
// Thread-safe.
#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace retort::rpc {

template <typename T>
class EventQueue {
 public:
  void Push(T event) {
    MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
    ready_.NotifyOne();
  }

  // The oldest event, or nullopt after `timeout` without one.
  std::optional<T> Pop(absl::Duration timeout) {
    const absl::Duration deadline = Clock::Real()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (events_.empty()) {
      const absl::Duration left = deadline - Clock::Real()->Now();
      if (left <= absl::ZeroDuration()) return std::nullopt;
      ready_.WaitWithTimeout(&mutex_, left);
    }
    T event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  Mutex mutex_;
  CondVar ready_;
  std::deque<T> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::rpc
