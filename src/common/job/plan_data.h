// The job's rows and how long they are in tokens. Internal to job/.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/job/plan_model.h"

namespace retort::job {

// Reads data.train and data.validation, tokenises their prompts (sft: and responses) and fills the
// plan's rows, digests, lengths and evaluation counts. Refuses a row that does not fit the model's
// context or a micro-batch, and one without the answer that the method or a reward needs; names its
// line. Above 32 MiB of text only the longest texts are tokenised; a note says so.
absl::Status PlanData(const v1::JobSpec& spec, const FieldPositions& at,
                      const PlannedModels& models, Plan* plan);

}  // namespace retort::job
