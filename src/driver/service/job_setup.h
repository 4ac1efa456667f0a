// From a job and its plan to what schedule and cluster need, and the digests that identify a run.
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

// `external`: workers come by mpirun, so that `collective: auto` means mpi on the CPU.
// FAILED_PRECONDITION: mpi without external workers.
absl::StatusOr<JobSetup> SetUpJob(const v1::JobSpec& spec, const job::Plan& plan,
                                  const std::string& run_dir, bool external);

// What makes the run what it is besides its job: the build, and job::DigestInputs.
absl::StatusOr<std::map<std::string, std::string>> IdentifyInputs(const v1::JobSpec& spec);

}  // namespace retort::driver
