// What a family of models is: how its config.json maps to a ModelConfig and back, and what its
// weight files call things. One file a family in families/. Internal to layout/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/json.h"
#include "common/layout/config_keys.h"
#include "common/layout/model_config.h"

namespace retort::layout {

// How a file stores a matrix that the arena holds as [out, in].
enum class FileOrder {
  kSame,
  kTransposed,    // [in, out].
  kHeadThenPart,  // Rows [heads, 3, head_dim] (q, k, v of head 0, then of head 1 ...) instead of
                  // [3, heads, head_dim].
};

// Names of tensors, without ".weight" and ".bias". Null: the family has no such tensor. Where a
// name has one part less than the mathematics, the file holds it fused.
struct TensorNames {
  const char* base;  // "model.": before all but the heads; files may leave it out.
  const char* embedding;
  const char* positions = nullptr;
  const char* project_in = nullptr;
  const char* project_out = nullptr;
  const char* final_norm;
  const char* layers;  // "layers": then ".0."
  const char* attention_norm;
  const char* attention_out_norm = nullptr;
  const char* mlp_norm = nullptr;
  const char* mlp_out_norm = nullptr;
  std::vector<const char*> qkv;  // One or three.
  const char* q_norm = nullptr;
  const char* k_norm = nullptr;
  const char* o;
  std::vector<const char*> mlp_in;  // gate, up; or one.
  const char* mlp_out;
  const char* head = "lm_head";               // Without `base`.
  FileOrder matrix_order = FileOrder::kSame;  // Of the matrices inside layers.
  FileOrder qkv_order = FileOrder::kSame;     // Of qkv weight and bias, besides.
  // Buffers that files may hold and that carry nothing: what comes after "layers.N.".
  std::vector<const char*> ignored = {};
};

struct Family {
  const char* model_type;
  const char* causal_class;    // What `architectures` says for a language model,
  const char* sequence_class;  // and for a reward model.
  absl::Status (*read)(const ConfigKeys& keys, ModelConfig* config);
  void (*write)(const ModelConfig& config, Json* json);
  const TensorNames& (*names)();
};

// Null if it is not built.
const Family* FindFamily(const std::string& model_type);
absl::Span<const Family* const> Families();

extern const Family kLlamaFamily, kMistralFamily, kQwen2Family, kQwen3Family, kGemma2Family,
    kGemma3Family, kPhi3Family, kGpt2Family, kGptNeoxFamily, kGptjFamily, kOptFamily;

// Names that Llama's descendants share.
const TensorNames& LlamaNames();
// With norms of q and k, where Qwen 3 and Gemma 3 have them.
TensorNames WithQkNorm(TensorNames names);

// --- Reading what families have in common.

// What config.json calls the sizes. Null: the family has no such key.
struct SizeKeys {
  const char* hidden = "hidden_size";
  const char* intermediate = "intermediate_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";
  const char* head_dim = "head_dim";
  const char* positions = "max_position_embeddings";
};

// GPT-2's and GPT-J's, and the names that Transformers takes besides.
inline constexpr SizeKeys kGptSizes = {"n_embd", "n_inner", "n_layer",    "n_head",
                                       nullptr,  nullptr,   "n_positions"};
inline constexpr KeyAlias kGptAliases[] = {{"n_embd", "hidden_size"},
                                           {"n_layer", "num_hidden_layers"},
                                           {"n_head", "num_attention_heads"},
                                           {"n_positions", "max_position_embeddings"}};

struct SizeDefaults {
  int64_t vocab = 32000;
  int64_t hidden = 4096;
  int64_t intermediate = 0;  // 0: four times hidden.
  int64_t layers = 32;
  int64_t heads = 32;
  int64_t kv_heads = 0;  // 0: heads.
  int64_t head_dim = 0;  // 0: hidden / heads.
  int64_t positions = 2048;
};

absl::Status ReadSizes(const ConfigKeys& keys, const SizeKeys& names, const SizeDefaults& defaults,
                       ModelConfig* config);
// A matrix, or some of one width together, within the bound on parameters.
absl::Status CheckElements(const ConfigKeys& keys, int64_t rows, int64_t width);
void WriteSizes(const ModelConfig& config, const SizeKeys& names, Json* json);

// The activation must be `names[0]` or one of its other names; missing means names[0].
absl::Status CheckActivation(const ConfigKeys& keys, const char* key,
                             absl::Span<const char* const> names);

struct RopeKeys {
  const char* theta = "rope_theta";
  double default_theta = 10000.0;
  const char* partial = nullptr;  // Null: the whole head is rotated, whatever a key says.
  double default_partial = 1.0;
};

// Transformers 4: theta and rope_scaling beside each other. Transformers 5: both in
// rope_parameters. Where a file has both they must say the same: each library reads another one.
// Sets position.ropes to one table and position.rotary_dim.
absl::Status ReadRope(const ConfigKeys& keys, const RopeKeys& names, ModelConfig* config);
// Type, factor and so on of one table: what rope_scaling or rope_parameters holds. `positions`:
// what kLlama3 scales from where the table does not say.
absl::Status ReadRopeScaling(const ConfigKeys& scaling, int64_t positions, RopeConfig* rope);
// The object, or nullopt if it is missing or empty, which says nothing.
absl::StatusOr<std::optional<ConfigKeys>> RopeObject(const ConfigKeys& keys,
                                                     const std::string& key);
// INVALID_ARGUMENT: rope_scaling and rope_parameters disagree.
absl::Status RopesDisagree(const ConfigKeys& keys);
// Both styles.
void WriteRope(const ModelConfig& config, const RopeKeys& names, Json* json);
Json RopeScalingJson(const RopeConfig& rope);

// Every layer sees `window` keys only; 0: all of them.
void SlideAll(int64_t window, ModelConfig* config);
// layer_types of Transformers 5, or, when it is missing, `slides(layer)`: which layers see `window`
// keys only.
absl::Status ReadLayerTypes(const ConfigKeys& keys, int64_t window,
                            bool (*slides)(int64_t, int64_t), int64_t argument,
                            ModelConfig* config);
Json LayerTypesJson(const ModelConfig& config);
// The window of the sliding layers, 0 if there are none.
int64_t WindowOf(const ModelConfig& config);

}  // namespace retort::layout
