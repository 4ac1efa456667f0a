// What no single key can tell: values of a job that contradict each other. Internal to job/.
#pragma once

#include "absl/status/status.h"
#include "common/job/job_file.h"

namespace retort::job {

// Pure: looks at no file. INVALID_ARGUMENT names the field to change.
absl::Status CheckConsistency(const v1::JobSpec& spec, const FieldPositions& positions);

}  // namespace retort::job
