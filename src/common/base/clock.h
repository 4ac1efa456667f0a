// A monotonic clock that tests can replace. Wall time appears only in logs and in records for
// people.
#pragma once

#include "absl/time/time.h"

namespace retort {

class Clock {
 public:
  virtual ~Clock() = default;
  // Time since an arbitrary fixed point; never goes back, keeps running while the machine sleeps.
  virtual absl::Duration Now() = 0;

  // CLOCK_BOOTTIME; lives for the whole process.
  static Clock* Real();
};

}  // namespace retort
