// Waiting on a 32-bit word that may lie in memory shared between processes. std::atomic::wait is
// not that: its futex is private to the process.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

#include "absl/time/time.h"

namespace retort {

// Sleeps while *word == expected, at most `timeout`. Returns early on a wake, a signal or for no
// reason: callers loop over their condition. The mapping may be read-only.
inline void FutexWait(const std::atomic<uint32_t>& word, uint32_t expected,
                      absl::Duration timeout) {
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
  const timespec limit = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, &limit, nullptr, 0);
}

inline void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace retort
