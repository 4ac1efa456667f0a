// A rollout worker: generates bundles with exactly the policy version that the lease names, holds
// the samples and reports what they are.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "worker/agent/driver_session.h"

namespace retort::worker {

// `token` is the run's: the shared-memory broker wants it. Runs until the driver says Shutdown (OK)
// or is lost. A lease that fails is reported, not fatal. Errors: what stops the process, such as
// files that cannot be read.
absl::Status RunRollout(DriverSession& session, const std::string& token);

}  // namespace retort::worker
