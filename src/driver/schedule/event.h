// What the schedule is told. Messages come from the worker that fills the place now; whoever calls
// has checked connection and incarnation (driver/cluster).
#pragma once

#include <string>
#include <variant>

#include "absl/time/time.h"
#include "driver/cluster/worker_id.h"
#include "retort/v1/control.pb.h"

namespace retort::driver {

struct WorkerJoined {
  WorkerId worker;
  std::string incarnation;
  WorkerHost host = {};
};
struct WorkerLost {
  WorkerId worker;
  std::string incarnation;
  std::string cause;
};
struct WorkerSaid {
  WorkerId worker;
  std::string incarnation;
  v1::WorkerMessage message;
};
struct Tick {
  // How long the driver was away since the tick before, in a write to a slow disk say: it could not
  // see what workers did, so their leases do not run meanwhile.
  absl::Duration away = absl::ZeroDuration();
};
// Finish or drop the running step, checkpoint, end.
struct StopRequested {};

using Event = std::variant<WorkerJoined, WorkerLost, WorkerSaid, Tick, StopRequested>;

}  // namespace retort::driver
