#include "worker/agent/busy_watch.h"

#include <pthread.h>

#include <utility>

#include "common/base/check.h"

namespace retort::worker {
namespace {

// Of an interval. A thread that waits may poll: that takes less.
constexpr double kBusyShare = 0.2;

// Zero once the thread has ended.
absl::Duration CpuTime(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) return absl::ZeroDuration();
  return absl::DurationFromTimespec(time);
}

}  // namespace

BusyWatch::BusyWatch(absl::Duration interval) : interval_(interval), thread_([this] { Run(); }) {}

BusyWatch::~BusyWatch() {
  {
    MutexLock lock(&mutex_);
    over_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void BusyWatch::Begin(std::function<void(absl::Duration)> on_busy) {
  clockid_t clock{};
  RETORT_CHECK(pthread_getcpuclockid(pthread_self(), &clock) == 0);
  MutexLock lock(&mutex_);
  on_busy_ = std::move(on_busy);
  watched_ = clock;
  began_ = CpuTime(clock);
  seen_ = absl::ZeroDuration();
}

void BusyWatch::End() {
  MutexLock lock(&mutex_);
  on_busy_ = nullptr;
}

void BusyWatch::Run() {
  MutexLock lock(&mutex_);
  while (!over_) {
    changed_.WaitWithTimeout(&mutex_, interval_);
    if (over_ || !on_busy_) continue;
    const absl::Duration busy = CpuTime(watched_) - began_;
    if (busy - std::exchange(seen_, busy) >= kBusyShare * interval_) on_busy_(busy);
  }
}

}  // namespace retort::worker
