// A rollout worker: generates bundles with exactly the policy version that the lease names, holds
// the samples and reports what they are.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/tensor/gpu_device.h"
#include "worker/agent/driver_session.h"

namespace retort::worker {

struct RolloutOptions {
  std::string token;                       // The run's: the shared-memory broker wants it.
  const tensor::GpuDevice* gpu = nullptr;  // Null: the CPU.
};

// Runs until the driver says Shutdown (OK) or is lost. A lease that fails is reported, not fatal.
// Errors: what stops the process, such as files that cannot be read.
absl::Status RunRollout(DriverSession& session, const RolloutOptions& options);

}  // namespace retort::worker
