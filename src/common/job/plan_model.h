// The models and tokenizers that a job names. Internal to job/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/text/tokenizer.h"

namespace retort::job {

struct PlannedModels {
  layout::ModelConfig config;      // Of the policy.
  layout::ParameterLayout policy;  // With the value head if the method has one.
  int64_t reference_elements = 0;  // 0 if the method has no reference.
  std::unique_ptr<text::Tokenizer> tokenizer;
};

// Loads config and tokenizer of the policy, checks that its weights (and the reference's) are
// there, that vocabularies agree and that the special tokens the job needs exist. Appends to
// `notes`.
absl::StatusOr<PlannedModels> PlanModels(const v1::JobSpec& spec, const FieldPositions& at,
                                         std::vector<std::string>* notes);

}  // namespace retort::job
