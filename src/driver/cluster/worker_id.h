// Names one place of the plan: "rollout-1". Who fills it changes; its incarnation tells which
// process does.
#pragma once

#include <compare>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retort/v1/control.pb.h"

namespace retort::driver {

struct WorkerId {
  v1::Role role = v1::ROLE_UNSPECIFIED;
  int index = 0;

  auto operator<=>(const WorkerId&) const = default;
};

// Where the process that fills a place runs, as its Hello said.
struct WorkerHost {
  std::string artifact_address;  // HOST:PORT.
  std::string host_identity;     // Processes with the same one share memory.
  bool under_mpirun = false;     // Started by mpirun: it can reduce over Open MPI.
};

// "rollout", "scorer", "learner", "agent".
absl::string_view RoleName(v1::Role role);

// "rollout-1"; the agent, of which there is one, is "agent".
std::string NameOf(const WorkerId& worker);

// The inverse. INVALID_ARGUMENT for any other text.
absl::StatusOr<WorkerId> WorkerFromName(absl::string_view name);

}  // namespace retort::driver
