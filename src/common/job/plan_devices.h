// Which roles compute on GPUs, and whether the host has them. Internal to job/.
#pragma once

#include "absl/status/status.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"

namespace retort::job {

// Fills the plan's devices, and notes a device whose memory is too small for what lies there by the
// plan's roles. Worker number i of a role computes on device i modulo the host's.
// Errors: INVALID_ARGUMENT, naming the field, if a role wants cuda where there is no plug-in or no
// device, or if NCCL would be given two ranks on one device. The plan's memory must be there.
absl::Status PlanDevices(const v1::JobSpec& spec, const FieldPositions& at, const HostFacts& host,
                         Plan* plan);

}  // namespace retort::job
