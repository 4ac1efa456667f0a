// Writes the trained policy as a Hugging Face folder.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/layout/model_config.h"
#include "common/tensor/parameter_arena.h"

namespace retort::worker {

// config.json, generation_config.json, model.safetensors (fp32, without value head), and the
// tokenizer's files from `tokenizer_folder`. Staged beside `path` and renamed: `path` is the whole
// model or what it was before.
absl::Status ExportModel(const std::string& path, const layout::ModelConfig& config,
                         const tensor::ParameterArena& parameters,
                         const std::string& tokenizer_folder);

}  // namespace retort::worker
