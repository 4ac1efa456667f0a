// The LoRA adapter that a job trains: policy.lora as the layout reads it. For plans and workers.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "common/layout/adapter_config.h"
#include "retort/v1/job.pb.h"

namespace retort::job {

// True if an adapter is trained and the model's own weights are not.
bool UsesAdapter(const v1::PolicySpec& policy);

// What policy.lora.path's adapter_config.json says, or the keys of policy.lora; nothing without an
// adapter. Errors: those of LoadAdapterConfig.
absl::StatusOr<std::optional<layout::AdapterConfig>> AdapterOf(const v1::PolicySpec& policy);

}  // namespace retort::job
