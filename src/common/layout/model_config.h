// What config.json (and generation_config.json) of a Hugging Face folder says about a model. Llama
// family.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::layout {

enum class RopeType { kDefault, kLinear, kLlama3 };

// Rotary position embedding. Fields that a type does not use keep their defaults.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                           // kLinear, kLlama3
  double low_freq_factor = 1.0;                  // kLlama3
  double high_freq_factor = 4.0;                 // kLlama3
  int64_t original_max_position_embeddings = 0;  // kLlama3

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool attention_bias = false;  // q, k, v and o
  bool mlp_bias = false;        // gate, up and down
  bool tie_word_embeddings = false;
  RopeConfig rope;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;
  std::vector<int64_t>
      eos_token_ids;  // generation_config.json's if it names any, else config.json's.

  bool operator==(const ModelConfig&) const = default;
};

// Reads `folder`/config.json and, if there, `folder`/generation_config.json. Understands the keys
// of Transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters); missing keys take Hugging
// Face's defaults. Errors: NOT_FOUND no config.json; UNIMPLEMENTED a model_type, rope type or
// activation that is not built, by name; INVALID_ARGUMENT a key that is missing or out of bounds,
// by file and key.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder);

// `model_type` of `folder`/config.json, built or not.
absl::StatusOr<std::string> ReadModelType(const std::string& folder);

// Texts of config.json (keys of both styles: old libraries ignore rope_parameters without a word)
// and of generation_config.json. LoadModelConfig reads back an equal config.
std::string ModelConfigJson(const ModelConfig& config);
std::string GenerationConfigJson(const ModelConfig& config);

}  // namespace retort::layout
