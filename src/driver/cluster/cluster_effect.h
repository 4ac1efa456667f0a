// What the cluster wants done, in this order.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "driver/cluster/worker_id.h"

namespace retort::driver {

using ConnectionId = uint64_t;

struct SpawnEffect {
  WorkerId worker;
  std::string incarnation;
};
struct KillEffect {
  WorkerId worker;
  std::string incarnation;
};
struct JoinedEffect {
  WorkerId worker;
  std::string incarnation;
  ConnectionId connection;
  WorkerHost host;
};
struct LostEffect {
  WorkerId worker;
  std::string incarnation;
  int64_t pid;
  std::string cause;
};
struct CloseEffect {
  ConnectionId connection;
  absl::Status status;
};
// The job cannot go on: `worker` died too often, or says that its input is at fault.
struct GiveUpEffect {
  WorkerId worker;
  std::string message;
  bool bad_input = false;
};
using ClusterEffect =
    std::variant<SpawnEffect, KillEffect, JoinedEffect, LostEffect, CloseEffect, GiveUpEffect>;

}  // namespace retort::driver
