// A learner rank: forms a group with its peers, trains the steps that the driver sends, publishes
// versions, writes checkpoints and the final model.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/collective/mpi_collective.h"
#include "common/tensor/gpu_device.h"
#include "worker/agent/driver_session.h"

namespace retort::worker {

struct LearnerOptions {
  std::string token;                       // The run's: the shared-memory broker wants it.
  collective::MpiRuntime* mpi = nullptr;   // Set under mpirun.
  const tensor::GpuDevice* gpu = nullptr;  // Null: the CPU.
};

// Runs until the driver says Shutdown (OK) or is lost. Failures of single commands are reported to
// the driver, which decides; they do not end the role. Errors: what stops the process, such as
// files that cannot be read.
absl::Status RunLearner(DriverSession& session, const LearnerOptions& options);

}  // namespace retort::worker
