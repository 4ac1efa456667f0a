// Names inside a checkpoints directory: "step-40" is committed, "step-40.tmp-7" is being written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace retort::checkpoint {

inline constexpr char kStagingInfix[] = ".tmp-";

std::string CheckpointName(int64_t step);

// The step of a committed checkpoint's name; nothing for any other name.
std::optional<int64_t> CommittedStep(absl::string_view name);

// The step of a staging folder's name; nothing for any other name.
std::optional<int64_t> StagedStep(absl::string_view name);

}  // namespace retort::checkpoint
