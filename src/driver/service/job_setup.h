// From a job and its plan to what schedule and cluster need, and the digests that identify what the
// job reads.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "common/job/plan.h"
#include "driver/schedule/config.h"
#include "driver/store/journal.h"
#include "retort/v1/job.pb.h"

namespace retort::driver {

struct JobSetup {
  ScheduleConfig schedule;
  std::map<v1::Role, int> threads;  // Per process.
};

// `external`: workers come by mpirun, so that `collective: auto` means mpi.
// FAILED_PRECONDITION: mpi without external workers.
absl::StatusOr<JobSetup> SetUpJob(const v1::JobSpec& spec, const job::Plan& plan,
                                  const std::string& run_dir, bool external);

// Digests of everything the job reads, by the name of the key that names it.
absl::StatusOr<std::map<std::string, std::string>> IdentifyInputs(const v1::JobSpec& spec,
                                                                  const job::Plan& plan);

// Over names and bytes of the model files of a folder (.json, .safetensors, .model), not its
// sub-folders.
absl::StatusOr<Digest> DigestOfModelFolder(const std::string& folder);

}  // namespace retort::driver
