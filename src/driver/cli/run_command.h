// `retort run`: the driver embedded in the command, its local workers, the live table and the
// report.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/rpc/endpoint.h"

namespace retort::driver {

struct RunOptions {
  std::string job_path;                 // Empty with resume_dir.
  std::string resume_dir;               // A run folder.
  std::vector<std::string> overrides;   // "a.b.c=value"
  bool external_workers = false;        // mpirun, Slurm or Kubernetes starts them.
  std::string listen;                   // HOST:PORT; empty: a free port on loopback.
  rpc::TlsFiles tls;                    // Needed when `listen` is off loopback.
  std::vector<std::string> failpoints;  // "rollout-0:rollout.generate=kill@2"
};

// Runs to the end and prints everything a user sees. Returns the exit code: 0 done, 1 failed, 2 bad
// input, 130 / 143 ended by SIGINT / SIGTERM with a checkpoint to resume from.
int RunCommand(const RunOptions& options);

// 2 where the input is at fault, 1 for any other error.
int ExitCodeOf(const absl::Status& status);

}  // namespace retort::driver
