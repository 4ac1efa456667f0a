// Between two looks at something that another rank or the GPU does. Internal to collective/.
#pragma once

#include <sched.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace retort::collective {

// Spins, then yields, then sleeps a little: ranks may share cores.
inline void PauseBetweenPolls(absl::Duration waited, absl::Duration spin) {
  if (waited < spin) return;
  if (waited < absl::Milliseconds(2)) {
    sched_yield();
  } else {
    absl::SleepFor(absl::Microseconds(100));
  }
}

}  // namespace retort::collective
