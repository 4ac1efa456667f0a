// What the learner ranks reduce gradients over, as far as the job alone tells.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/job/job_file.h"

namespace retort::job {

// cluster.learner.collective with `auto` resolved where the device decides: nccl for several ranks
// on cuda, shm for one. AUTO stays on the CPU: there the processes' hosts and mpirun decide.
v1::CollectiveKind LearnerCollective(const v1::JobSpec& spec);

// How several ranks sum their gradients, for a person: "over NCCL".
std::string DescribeCollective(const v1::JobSpec& spec);

// Pure. INVALID_ARGUMENT if the collective cannot work on the learner's device.
absl::Status CheckLearnerCollective(const v1::JobSpec& spec, const FieldPositions& positions);

}  // namespace retort::job
