// What config.json (and generation_config.json) of a Hugging Face folder says about a model, as
// mathematics: no field is named after a family. Each family's keys are read and written in
// families/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::layout {

enum class Task {
  kCausalLm,                // Logits over the vocabulary.
  kSequenceClassification,  // One score per position: a reward model.
};

enum class NormKind { kRms, kLayer };

// kRms: x / sqrt(mean(x^2) + eps) * w. kLayer: (x - mean) / sqrt(var + eps) * w + b.
struct NormConfig {
  NormKind kind = NormKind::kRms;
  double eps = 1e-6;
  bool add_one = false;  // Multiply by 1 + w.

  bool operator==(const NormConfig&) const = default;
};

// How a layer joins attention A and MLP M to its input x; n1, n2, ... are norms.
enum class Residual {
  kPreNorm,      // x += A(n1(x)); x += M(n2(x))
  kPostNorm,     // x = n1(x + A(x)); x = n2(x + M(x))
  kSandwich,     // x += n1'(A(n1(x))); x += n2'(M(n2(x)))
  kParallel,     // x + A(n1(x)) + M(n2(x))
  kParallelOne,  // x + A(n1(x)) + M(n1(x))
};

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

enum class PositionKind {
  kRotary,   // Angles on queries and keys.
  kLearned,  // A row of a table, added to the embedding.
};

struct PositionConfig {
  PositionKind kind = PositionKind::kRotary;
  int64_t learned_offset = 0;  // kLearned: position p takes row p + learned_offset.
  // kRotary: the first rotary_dim of head_dim are rotated; 0: all of them.
  int64_t rotary_dim = 0;
  bool interleaved = false;  // Pairs (2i, 2i + 1) instead of (i, i + rotary_dim / 2).
  std::vector<RopeConfig> ropes = std::vector<RopeConfig>(1);  // What LayerAttention::rope indexes.

  bool operator==(const PositionConfig&) const = default;
};

// What differs from layer to layer.
struct LayerAttention {
  int64_t window = 0;  // Query i sees keys j with i - window < j <= i; 0: all j <= i.
  int rope = 0;

  bool operator==(const LayerAttention&) const = default;
};

struct AttentionConfig {
  bool qkv_bias = false;
  bool o_bias = false;
  bool qk_norm = false;     // A norm (of ModelConfig::norm's kind) over head_dim of q and k, first.
  double query_scalar = 0;  // Scores are multiplied by query_scalar^-1/2; 0: head_dim.
  double soft_cap = 0;      // c: c * tanh(score / c); 0: none.

  bool operator==(const AttentionConfig&) const = default;
};

enum class Activation { kSilu, kGeluTanh, kGelu, kRelu };

struct MlpConfig {
  bool gated = true;  // down(act(gate(x)) * up(x)); else down(act(up(x))).
  Activation activation = Activation::kSilu;
  bool bias = false;

  bool operator==(const MlpConfig&) const = default;
};

struct ModelConfig {
  std::string model_type = "llama";
  Task task = Task::kCausalLm;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  // Width of the embedding where a projection takes it to hidden_size and another one back; 0: it
  // is hidden_size and there are no projections.
  int64_t projected_size = 0;
  double embedding_scale = 1;  // The embedding's rows times this (in fp32).
  NormConfig norm;
  Residual residual = Residual::kPreNorm;
  PositionConfig position;
  AttentionConfig attention;
  std::vector<LayerAttention> layer_attention;  // One a layer; empty: the default in all.
  MlpConfig mlp;
  bool final_norm = true;
  bool head_bias = false;
  double final_soft_cap = 0;  // Logits: c * tanh(logit / c); 0: none.
  bool tie_word_embeddings = false;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;
  std::vector<int64_t>
      eos_token_ids;  // generation_config.json's if it names any, else config.json's.

  bool operator==(const ModelConfig&) const = default;

  // Width of the embedding's rows and of the last hidden states, which the head multiplies.
  int64_t embedding_size() const { return projected_size == 0 ? hidden_size : projected_size; }
  LayerAttention layer(int64_t i) const {
    return layer_attention.empty() ? LayerAttention() : layer_attention[i];
  }
  int64_t rotary_dim() const;      // 0 with learned positions.
  double attention_scale() const;  // What scores are multiplied by.
};

// Reads `folder`/config.json and, if there, `folder`/generation_config.json. Understands the keys
// of Transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters); missing keys take Hugging
// Face's defaults. Errors: NOT_FOUND no config.json; UNIMPLEMENTED a model_type, rope type,
// activation or other key that changes the mathematics and is not built, by file and name;
// INVALID_ARGUMENT a key that is missing, of the wrong type or out of bounds, by file and key.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder);

// The same of a model that has logits. INVALID_ARGUMENT for a sequence classification.
absl::StatusOr<ModelConfig> LoadCausalConfig(const std::string& folder);

// Keys of `folder`/config.json that LoadModelConfig does not know, in the file's order. Errors as
// LoadModelConfig.
absl::StatusOr<std::vector<std::string>> UnknownConfigKeys(const std::string& folder);

// `model_type` of `folder`/config.json, built or not.
absl::StatusOr<std::string> ReadModelType(const std::string& folder);

// Every model_type that LoadModelConfig reads, sorted.
std::vector<std::string> ModelTypes();

// Whose keys a config.json has. Old libraries ignore rope_parameters without a word.
enum class ConfigStyle { kBoth, kTransformers4, kTransformers5 };

// Texts of config.json and of generation_config.json. LoadModelConfig reads back an equal config,
// unless it needs what Transformers 4 has no key for (a scaled table of Gemma 3's sliding layers).
// `dtype`: of the weights beside it, such as "float32".
std::string ModelConfigJson(const ModelConfig& config, ConfigStyle style = ConfigStyle::kBoth,
                            const std::string& dtype = "float32");
std::string GenerationConfigJson(const ModelConfig& config);

}  // namespace retort::layout
