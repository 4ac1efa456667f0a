// A Hugging Face folder's weights into and out of an arena.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tensor/parameter_arena.h"

namespace retort::tensor {

// Reads `folder`/model.safetensors, or the shards that model.safetensors.index.json names, straight
// into `arena`: fp32, bf16 and fp16, widened. Every tensor of the layout must be there with its
// shape, finite, and nothing else may be, except: lm_head.weight of a tied model and
// rotary_emb.inv_freq buffers, which are not read; v_head.* are read when the layout has a value
// head, and may be missing (the value head stays as it is). Errors: NOT_FOUND, INVALID_ARGUMENT,
// DATA_LOSS: one line naming file and tensor. The arena's contents are then unspecified.
absl::Status LoadModelWeights(const std::string& folder, ParameterArena* arena);

// The same into a new arena, which is allocated once the files have shown that they hold the
// layout: a config.json that lies about sizes costs no memory.
absl::StatusOr<ParameterArena> ReadModelArena(const std::string& folder,
                                              layout::ParameterLayout layout);

// The files that LoadModelWeights would read (absolute if `folder` is), for plans and digests.
absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& folder);

// Writes `folder`/model.safetensors: every part of the published prefix in fp32 under its Hugging
// Face name. Not atomic: the caller renames the folder.
absl::Status WriteModelWeights(const std::string& folder, const ParameterArena& arena);

}  // namespace retort::tensor
