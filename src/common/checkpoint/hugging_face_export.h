// The trained policy as a folder that Hugging Face's libraries and `retort generate` read, and a
// trained adapter as one that PEFT reads.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/layout/adapter_config.h"
#include "common/layout/model_config.h"
#include "common/tensor/parameter_arena.h"

namespace retort::checkpoint {

// Writes config.json, generation_config.json, model.safetensors (the published range under its
// Hugging Face names, fp32) and copies the tokenizer's files from `tokenizer_folder`. Everything is
// staged in FOLDER.tmp-export, fsynced, then renamed; an existing `folder` is replaced in one
// exchange. Errors: FAILED_PRECONDITION weights that are not finite; those of the file functions.
// `folder` is then as it was.
absl::Status ExportHuggingFace(const std::string& folder, const layout::ModelConfig& config,
                               const tensor::ParameterArena& arena,
                               const std::string& tokenizer_folder);

// Writes an adapter of a model of `base` as PEFT does: adapter_config.json and
// adapter_model.safetensors (the published range of `arena`, over AdapterLayoutFor). Staged,
// renamed and refused like a model.
absl::Status ExportAdapter(const std::string& folder, const layout::ModelConfig& base,
                           const layout::AdapterConfig& config,
                           const tensor::ParameterArena& arena);

}  // namespace retort::checkpoint
