// adapter_config.json of a PEFT folder: which linear layers a LoRA adapter changes, and how.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/layout/model_config.h"

namespace retort::layout {

inline constexpr char kAllLinear[] = "all-linear";  // As target_modules.

// W + scale() * B A for every targeted matrix W [out, in], with A [rank, in] and B [out, rank].
struct AdapterConfig {
  int64_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  bool all_linear = false;  // Every matrix of every layer, whatever `targets` says.
  // Module names such as "q_proj" or "self_attn.q_proj": a module is targeted if its name is one of
  // these or ends with a dot and one.
  std::vector<std::string> targets;
  double dropout = 0;  // Of the training that made it. Changes nothing that is computed here.

  bool operator==(const AdapterConfig&) const = default;

  double scale() const;  // alpha / rank, or alpha / sqrt(rank) with rslora.
  bool Targets(absl::string_view module) const;
};

// Reads `folder`/adapter_config.json. Keys that do not change what is computed (fan_in_fan_out,
// which says how the base stores a matrix, ...) are passed over. Errors: NOT_FOUND no such file;
// UNIMPLEMENTED an option that changes the mathematics (rank_pattern, alpha_pattern, use_dora,
// modules_to_save, bias other than none, an init_lora_weights that changed the model ...), by name;
// INVALID_ARGUMENT a key that is missing, of the wrong type or out of bounds, by file and key.
absl::StatusOr<AdapterConfig> LoadAdapterConfig(const std::string& folder);

// Text of adapter_config.json for an adapter of a model of `base`; LoadAdapterConfig reads back an
// equal config.
std::string AdapterConfigJson(const AdapterConfig& config, const ModelConfig& base);

}  // namespace retort::layout
