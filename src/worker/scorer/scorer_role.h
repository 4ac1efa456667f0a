// A scorer worker: fetches rollouts from the workers that hold them, computes the frozen reference
// model's log-probs and holds them for the learners.
#pragma once

#include "absl/status/status.h"
#include "common/tensor/gpu_device.h"
#include "worker/agent/driver_session.h"

namespace retort::worker {

struct ScorerOptions {
  const tensor::GpuDevice* gpu = nullptr;  // Null: the CPU.
};

// Runs until the driver says Shutdown (OK) or is lost. A lease that fails is reported, not fatal.
// Errors: what stops the process, such as model files that cannot be read.
absl::Status RunScorer(DriverSession& session, const ScorerOptions& options);

}  // namespace retort::worker
