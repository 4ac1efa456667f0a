// Bytes of a job: per process, shared, on disk. Internal to job/.
#pragma once

#include "absl/status/status.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/job/plan_model.h"

namespace retort::job {

// Fills roles, ring, checkpoint and reference bytes. The plan's rows and lengths must be there.
// Errors: INVALID_ARGUMENT if `kl_penalty: full` makes a step's reference artifacts too large, or
// the disk has no room for the checkpoints.
absl::Status PlanMemory(const v1::JobSpec& spec, const FieldPositions& at,
                        const PlannedModels& models, const HostFacts& host, Plan* plan);

// "12.3 MiB".
std::string BytesText(int64_t bytes);

}  // namespace retort::job
