// The models and tokenizers that a job names. Internal to job/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/row_encoder.h"
#include "common/job/job_file.h"
#include "common/job/plan.h"
#include "common/layout/adapter_config.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/text/tokenizer.h"

namespace retort::job {

struct PlannedModels {
  layout::ModelConfig config;      // Of the policy.
  layout::ParameterLayout policy;  // With the value head if the method has one.
  // What is trained: `policy`, or the parameters of its adapter and the value head.
  layout::ParameterLayout trained;
  std::optional<layout::AdapterConfig> adapter;
  int64_t reference_elements = 0;  // 0 if the method has no reference.
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const data::RowEncoder> rows;
  absl::StatusOr<int64_t> eos;  // What ends a response of training data, or why nothing does.
};

// Loads config and tokenizer of the policy, checks that the headers of its weights (and those of
// the reference and of an adapter) hold what their config.json asks for, that vocabularies agree
// and that the special tokens the job needs exist. Appends to `notes`.
absl::StatusOr<PlannedModels> PlanModels(const v1::JobSpec& spec, const FieldPositions& at,
                                         std::vector<std::string>* notes);

}  // namespace retort::job
