// A node's agent: starts, watches and ends the worker processes that the driver asks for, and
// reports how they ended. It makes no Torch call and lives on the process's main thread, because
// PR_SET_PDEATHSIG fires when the thread that spawned a child ends.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/rpc/access_token.h"
#include "common/rpc/endpoint.h"

namespace retort::worker {

struct AgentOptions {
  std::string worker_binary;  // What is spawned: normally this program itself.
  std::string driver_address;
  std::string token_file;  // Children read the token from it.
  rpc::TlsFiles tls = {};
  std::string incarnation;                        // 32 hex digits.
  std::vector<std::string> child_arguments = {};  // Passed on to every child, after the others.
  absl::Duration welcome_deadline = absl::Seconds(60);
  Clock* clock = Clock::Real();
};

// Runs until the driver sends Shutdown or SIGTERM comes (OK), or the driver's stream is lost (the
// error). In every case all children are reaped when it returns. Call PrepareTerminationSignals
// first.
//
// A child is started as
//   worker_binary --role=rollout --index=1 --incarnation=HEX --driver=HOST:PORT --token-file=PATH
//   --threads=N
//                 --log-file=RUN/logs/rollout-1.log --parent-pid=PID [--failpoint=...]...
//                 [child_arguments]
// with OMP_NUM_THREADS=N and OMP_WAIT_POLICY=passive, stdin from /dev/null, stdout and stderr
// appended to the log. Shutdown: SIGTERM to all, SIGKILL after grace_ms. KillChild: SIGKILL, if the
// incarnation is the running one's. Errors: INVALID_ARGUMENT options; AttachClient::Connect's;
// UNAVAILABLE driver lost.
absl::Status RunAgent(const AgentOptions& options);

}  // namespace retort::worker
