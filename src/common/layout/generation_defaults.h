// How a model's makers want it sampled: generation_config.json. Defaults of the command line and of
// `retort serve`, where flags and requests win; training never reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace retort::layout {

struct GenerationDefaults {
  double temperature = 1;  // 0: greedy.
  int64_t top_k = 0;       // 0: all. Hugging Face's own default of 50 is not taken over.
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  int64_t min_new_tokens = 0;
  std::optional<int64_t> max_new_tokens;

  bool operator==(const GenerationDefaults&) const = default;
};

// From `folder`/generation_config.json; the defaults above where the file or a key is missing or
// null. `do_sample: false` means greedy, whatever `temperature` says. Keys that are no sampling
// parameter above are left to others. Errors: INVALID_ARGUMENT names file and key.
absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(const std::string& folder);

}  // namespace retort::layout
