// Where the matrices of a LoRA adapter lie in an arena of their own: what is trained, reduced,
// published and saved when a base model is not.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/layout/adapter_config.h"
#include "common/layout/parameter_layout.h"

namespace retort::layout {

// Rows [row, row + rows) of the base's entry (role, layer) get scale * B A.
struct AdapterTarget {
  ParameterRole role = ParameterRole::kQkv;
  int64_t layer = -1;
  int64_t row = 0;
  int64_t rows = 0;
  size_t a = 0, b = 0;  // Entries of the layout: [rank, in] and [rows, rank].
};

struct AdapterLayout {
  // Every A and B as group kDecay, under PEFT's names; then the value head, if asked for. No entry
  // is published but the adapter's.
  ParameterLayout parameters;
  std::vector<AdapterTarget> targets;
  double scale = 1;
};

// A pure function of its arguments. Errors: UNIMPLEMENTED a target that is an embedding or a head,
// by name; INVALID_ARGUMENT targets that name no matrix of the model.
absl::StatusOr<AdapterLayout> AdapterLayoutFor(const ModelConfig& base, const AdapterConfig& config,
                                               bool value_head);

// Stricter than PEFT, for names that a person typed: INVALID_ARGUMENT if one of config.targets
// names no linear layer of the model; says which names do.
absl::Status CheckTargets(const ModelConfig& base, const AdapterConfig& config);

}  // namespace retort::layout
