#include "common/base/clock.h"

#include <time.h>

namespace retort {
namespace {

class BootClock : public Clock {
 public:
  absl::Duration Now() override {
    timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return absl::DurationFromTimespec(now);
  }
};

}  // namespace

Clock* Clock::Real() {
  static BootClock clock;
  return &clock;
}

}  // namespace retort
