// Where a run stands, for whoever watches it.
#pragma once

#include <cstdint>

namespace retort::driver {

struct ScheduleSnapshot {
  uint64_t epoch = 0;
  int64_t generation = 0;
  int64_t current_step = 0;
  int64_t committed_steps = 0;
  int64_t newest_checkpoint = 0;  // Its step; 0: none.
  int64_t refused_messages = 0;
  bool replaying = false;
};

}  // namespace retort::driver
