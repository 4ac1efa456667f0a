// From the driver's request to a command line. Pure. Internal to agent/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/v1/control.pb.h"
#include "worker/agent/child_process.h"

namespace retort::worker {

// What all children of an agent have in common.
struct ChildLaunch {
  std::string worker_binary;
  std::string driver_address;
  std::string token_file;
  std::string run_dir;
  std::vector<std::string> extra_arguments;
  int64_t parent_pid = 0;
};

// INVALID_ARGUMENT names the field: the worker's name becomes a file name, so only letters, digits
// and '-' are allowed.
absl::StatusOr<ChildCommand> MakeChildCommand(const ChildLaunch& launch,
                                              const v1::SpawnChild& request);

}  // namespace retort::worker
