#include "common/layout/family.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxElements = int64_t{1} << 42;
constexpr int64_t kMaxHeadDim = 1 << 14;
constexpr char kPartial[] = "partial_rotary_factor";

constexpr const Family* kFamilies[] = {
    &kGemma2Family,  &kGemma3Family, &kGpt2Family, &kGptNeoxFamily, &kGptjFamily,  &kLlamaFamily,
    &kMistralFamily, &kOptFamily,    &kPhi3Family, &kQwen2Family,   &kQwen3Family,
};

absl::Status ReadHeads(const ConfigKeys& keys, const SizeKeys& names, const SizeDefaults& defaults,
                       ModelConfig* c) {
  RETORT_ASSIGN_OR_RETURN(c->num_attention_heads,
                          keys.Int(names.heads, defaults.heads, 1, kMaxWidth));
  c->num_key_value_heads = c->num_attention_heads;
  if (names.kv_heads != nullptr) {
    // A default that the heads exclude would be a surprise: then it is theirs, as for null.
    const int64_t fallback = defaults.kv_heads > 0 && !keys.HasNull(names.kv_heads)
                                 ? defaults.kv_heads
                                 : c->num_attention_heads;
    RETORT_ASSIGN_OR_RETURN(c->num_key_value_heads,
                            keys.Int(names.kv_heads, fallback, 1, kMaxWidth));
    if (c->num_key_value_heads > c->num_attention_heads ||
        c->num_attention_heads % c->num_key_value_heads != 0) {
      return keys.Wrong(names.kv_heads,
                        absl::StrCat("a divisor of ", names.heads, " ", c->num_attention_heads));
    }
  }
  if (names.head_dim == nullptr && c->hidden_size % c->num_attention_heads != 0) {
    return keys.Wrong(names.heads,
                      absl::StrCat("a divisor of ", names.hidden, " ", c->hidden_size));
  }
  c->head_dim = c->hidden_size / c->num_attention_heads;
  if (names.head_dim == nullptr) {
    RETORT_RETURN_IF_ERROR(keys.RequireNumber("head_dim", static_cast<double>(c->head_dim),
                                              absl::StrCat(names.hidden, " / ", names.heads)));
  } else {
    const bool fixed = defaults.head_dim > 0 && !keys.HasNull(names.head_dim);
    RETORT_ASSIGN_OR_RETURN(
        c->head_dim,
        keys.Int(names.head_dim, fixed ? defaults.head_dim : c->head_dim, 1, kMaxHeadDim));
  }
  if (c->head_dim < 1 || c->head_dim > kMaxHeadDim ||
      c->num_attention_heads * c->head_dim > kMaxWidth) {
    return keys.Wrong(names.heads, absl::StrCat("heads of 1 to ", kMaxHeadDim,
                                                " values, together at most ", kMaxWidth));
  }
  return absl::OkStatus();
}

absl::Status ReadLlama3(const ConfigKeys& keys, int64_t positions, RopeConfig* rope) {
  RETORT_ASSIGN_OR_RETURN(rope->factor, keys.Positive("factor", std::nullopt));
  RETORT_ASSIGN_OR_RETURN(rope->low_freq_factor, keys.Positive("low_freq_factor", std::nullopt));
  RETORT_ASSIGN_OR_RETURN(rope->high_freq_factor, keys.Positive("high_freq_factor", std::nullopt));
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    return keys.Wrong("high_freq_factor", "a number above low_freq_factor");
  }
  RETORT_ASSIGN_OR_RETURN(
      rope->original_max_position_embeddings,
      keys.Int("original_max_position_embeddings", positions, 1, kMaxPositions));
  return absl::OkStatus();
}

// The rotated part of a head. `at`, `key`: where `partial` was said; a null key: nowhere.
absl::Status SetRotaryDim(const ConfigKeys& at, const char* key, double partial,
                          ModelConfig* config) {
  // As Transformers rounds: down.
  const double rotated = std::min(partial, 2.0) * static_cast<double>(config->head_dim);
  const int64_t dim = static_cast<int64_t>(rotated);
  if (partial > 1.0 || dim < 2 || dim % 2 != 0) {
    return key == nullptr
               ? at.Wrong("head_dim", "an even number (or hidden_size / num_attention_heads even)")
               : at.Wrong(key, absl::StrCat("a fraction of at most 1 that makes an even, positive "
                                            "part of head_dim ",
                                            config->head_dim));
  }
  config->position.rotary_dim = dim == config->head_dim ? 0 : dim;
  return absl::OkStatus();
}

// Names that the family has no use for, but that some version of Transformers writes or reads.
absl::Status CheckOtherNames(const ConfigKeys& keys, const RopeKeys& names, double theta,
                             double partial) {
  if (absl::string_view(names.theta) != "rope_theta") {
    RETORT_RETURN_IF_ERROR(keys.RequireNumber("rope_theta", theta, names.theta));
  }
  if (names.partial == nullptr) return keys.RequireNumber(kPartial, partial, "this model_type");
  if (absl::string_view(names.partial) == kPartial) return absl::OkStatus();
  return keys.RequireNumber(kPartial, partial, names.partial);
}

// What `scaling` says of the one table of a model. `keys`: the top level.
absl::Status ReadScaledTable(const ConfigKeys& keys, const ConfigKeys& scaling,
                             const ModelConfig& config, RopeConfig* rope) {
  constexpr char kOriginal[] = "original_max_position_embeddings";
  for (const auto& [key, value] : scaling.object().items()) {
    if (value.is_object()) return scaling.NotBuilt(key, "one table for all layers");
  }
  RETORT_ASSIGN_OR_RETURN(rope->theta, scaling.Positive("rope_theta", rope->theta));
  RETORT_ASSIGN_OR_RETURN(const int64_t positions,
                          keys.Int(kOriginal, config.max_position_embeddings, 1, kMaxPositions));
  RETORT_RETURN_IF_ERROR(ReadRopeScaling(scaling, positions, rope));
  if (rope->type != RopeType::kLlama3 || keys.Find(kOriginal) == nullptr) return absl::OkStatus();
  return scaling.RequireNumber(kOriginal, static_cast<double>(positions), "the top level");
}

// The one table of a model and its rotary_dim, from the top level and `scaling`.
absl::Status ReadTable(const ConfigKeys& keys, const RopeKeys& names,
                       const std::optional<ConfigKeys>& scaling, ModelConfig* config) {
  RopeConfig& rope = config->position.ropes[0];
  rope = RopeConfig();
  RETORT_ASSIGN_OR_RETURN(rope.theta, keys.Positive(names.theta, names.default_theta));
  double partial = names.default_partial;
  if (names.partial != nullptr) {
    RETORT_ASSIGN_OR_RETURN(partial, keys.Positive(names.partial, partial));
  }
  const bool nested = scaling.has_value() && scaling->Find(kPartial) != nullptr;
  if (scaling.has_value()) {
    RETORT_RETURN_IF_ERROR(ReadScaledTable(keys, *scaling, *config, &rope));
  }
  if (nested && names.partial == nullptr) {
    RETORT_RETURN_IF_ERROR(scaling->RequireNumber(kPartial, partial, "this model_type"));
  }
  if (nested) {
    RETORT_ASSIGN_OR_RETURN(partial, scaling->Positive(kPartial, std::nullopt));
  }
  RETORT_RETURN_IF_ERROR(CheckOtherNames(keys, names, rope.theta, partial));
  return nested ? SetRotaryDim(*scaling, kPartial, partial, config)
                : SetRotaryDim(keys, names.partial, partial, config);
}

}  // namespace

const Family* FindFamily(const std::string& model_type) {
  for (const Family* family : kFamilies) {
    if (model_type == family->model_type) return family;
  }
  return nullptr;
}

absl::Span<const Family* const> Families() { return kFamilies; }

absl::Status ReadSizes(const ConfigKeys& keys, const SizeKeys& names, const SizeDefaults& defaults,
                       ModelConfig* c) {
  RETORT_ASSIGN_OR_RETURN(c->vocab_size, keys.Int("vocab_size", defaults.vocab, 1, kMaxVocabulary));
  RETORT_ASSIGN_OR_RETURN(c->hidden_size, keys.Int(names.hidden, defaults.hidden, 1, kMaxWidth));
  const int64_t intermediate =
      defaults.intermediate > 0 ? defaults.intermediate : 4 * c->hidden_size;
  RETORT_ASSIGN_OR_RETURN(c->intermediate_size,
                          keys.Int(names.intermediate, intermediate, 1, 4 * kMaxWidth));
  RETORT_ASSIGN_OR_RETURN(c->num_hidden_layers,
                          keys.Int(names.layers, defaults.layers, 1, kMaxLayers));
  RETORT_RETURN_IF_ERROR(ReadHeads(keys, names, defaults, c));
  RETORT_ASSIGN_OR_RETURN(c->max_position_embeddings,
                          keys.Int(names.positions, defaults.positions, 1, kMaxPositions));
  const int64_t width = c->hidden_size + c->num_attention_heads * c->head_dim;
  RETORT_RETURN_IF_ERROR(
      CheckElements(keys, c->vocab_size + c->max_position_embeddings, c->hidden_size));
  return CheckElements(keys, c->num_hidden_layers * (width + c->intermediate_size), c->hidden_size);
}

absl::Status CheckElements(const ConfigKeys& keys, int64_t rows, int64_t width) {
  if (rows <= kMaxElements / 4 / width) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(keys.where(), ": more than ", kMaxElements,
                                                 " parameters; expected a smaller model"));
}

TensorNames WithQkNorm(TensorNames names) {
  names.q_norm = "self_attn.q_norm";
  names.k_norm = "self_attn.k_norm";
  return names;
}

void WriteSizes(const ModelConfig& c, const SizeKeys& names, Json* json) {
  (*json)["vocab_size"] = c.vocab_size;
  (*json)[names.hidden] = c.hidden_size;
  (*json)[names.intermediate] = c.intermediate_size;
  (*json)[names.layers] = c.num_hidden_layers;
  (*json)[names.heads] = c.num_attention_heads;
  if (names.kv_heads != nullptr) (*json)[names.kv_heads] = c.num_key_value_heads;
  if (names.head_dim != nullptr) (*json)[names.head_dim] = c.head_dim;
  (*json)[names.positions] = c.max_position_embeddings;
}

absl::Status CheckActivation(const ConfigKeys& keys, const char* key,
                             absl::Span<const char* const> names) {
  RETORT_ASSIGN_OR_RETURN(const std::string activation, keys.String(key, names[0]));
  for (const char* name : names) {
    if (activation == name) return absl::OkStatus();
  }
  return keys.NotBuilt(key, absl::StrCat("\"", names[0], "\""));
}

absl::Status ReadRopeScaling(const ConfigKeys& scaling, int64_t positions, RopeConfig* rope) {
  RETORT_ASSIGN_OR_RETURN(const std::string old_name, scaling.String("type", "default"));
  RETORT_ASSIGN_OR_RETURN(const std::string type, scaling.String("rope_type", old_name));
  if (type == "default") return absl::OkStatus();
  if (type == "linear") {
    rope->type = RopeType::kLinear;
    RETORT_ASSIGN_OR_RETURN(rope->factor, scaling.Positive("factor", std::nullopt));
    return absl::OkStatus();
  }
  if (type == "llama3") {
    rope->type = RopeType::kLlama3;
    return ReadLlama3(scaling, positions, rope);
  }
  return scaling.NotBuilt(scaling.Find("rope_type") != nullptr ? "rope_type" : "type",
                          "default, linear or llama3");
}

absl::StatusOr<std::optional<ConfigKeys>> RopeObject(const ConfigKeys& keys,
                                                     const std::string& key) {
  RETORT_ASSIGN_OR_RETURN(std::optional<ConfigKeys> object, keys.Object(key));
  if (object.has_value() && object->object().empty()) object.reset();
  return object;
}

absl::Status RopesDisagree(const ConfigKeys& keys) {
  return absl::InvalidArgumentError(
      absl::StrCat(keys.where(),
                   ": rope_scaling and rope_parameters disagree; expected the same rope from both, "
                   "as Transformers 4 reads the one and Transformers 5 the other; remove the wrong "
                   "one"));
}

absl::Status ReadRope(const ConfigKeys& keys, const RopeKeys& names, ModelConfig* config) {
  RETORT_ASSIGN_OR_RETURN(const std::optional<ConfigKeys> v4, RopeObject(keys, "rope_scaling"));
  RETORT_ASSIGN_OR_RETURN(const std::optional<ConfigKeys> v5, RopeObject(keys, "rope_parameters"));
  RETORT_RETURN_IF_ERROR(ReadTable(keys, names, v5.has_value() ? v5 : v4, config));
  if (!v4.has_value() || !v5.has_value()) return absl::OkStatus();
  ModelConfig other = *config;
  RETORT_RETURN_IF_ERROR(ReadTable(keys, names, v4, &other));
  return other.position == config->position ? absl::OkStatus() : RopesDisagree(keys);
}

Json RopeScalingJson(const RopeConfig& rope) {
  Json json;
  switch (rope.type) {
    case RopeType::kDefault:
      json["rope_type"] = "default";
      break;
    case RopeType::kLinear:
      json["rope_type"] = "linear";
      json["factor"] = rope.factor;
      break;
    case RopeType::kLlama3:
      json["rope_type"] = "llama3";
      json["factor"] = rope.factor;
      json["low_freq_factor"] = rope.low_freq_factor;
      json["high_freq_factor"] = rope.high_freq_factor;
      json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
      break;
  }
  return json;
}

void WriteRope(const ModelConfig& config, const RopeKeys& names, Json* json) {
  const RopeConfig& rope = config.position.ropes[0];
  const Json scaling = RopeScalingJson(rope);
  (*json)[names.theta] = rope.theta;
  (*json)["rope_scaling"] = rope.type == RopeType::kDefault ? Json() : scaling;
  (*json)["rope_parameters"] = scaling;
  (*json)["rope_parameters"]["rope_theta"] = rope.theta;
  if (names.partial == nullptr) return;
  const int64_t dim = config.rotary_dim();
  double partial = static_cast<double>(dim) / static_cast<double>(config.head_dim);
  // Readers round down, so the product must not fall short of what was divided.
  if (static_cast<int64_t>(partial * static_cast<double>(config.head_dim)) < dim) {
    partial = std::nextafter(partial, 2.0);
  }
  (*json)[names.partial] = partial;
  (*json)["rope_parameters"]["partial_rotary_factor"] = partial;
}

void SlideAll(int64_t window, ModelConfig* config) {
  config->layer_attention.clear();
  if (window > 0) config->layer_attention.assign(config->num_hidden_layers, {.window = window});
}

absl::Status ReadLayerTypes(const ConfigKeys& keys, int64_t window,
                            bool (*slides)(int64_t, int64_t), int64_t argument,
                            ModelConfig* config) {
  const Json* types = keys.Find("layer_types");
  const std::string expected = absl::StrCat("a list of ", config->num_hidden_layers,
                                            " times \"full_attention\" or \"sliding_attention\"");
  if (types != nullptr &&
      (!types->is_array() || types->size() != static_cast<size_t>(config->num_hidden_layers))) {
    return keys.Wrong("layer_types", expected);
  }
  std::vector<LayerAttention> layers(config->num_hidden_layers);
  bool any = false;
  for (int64_t i = 0; i < config->num_hidden_layers; ++i) {
    bool sliding = types == nullptr && slides(i, argument);
    if (types != nullptr) {
      const Json& type = (*types)[i];
      sliding = type == "sliding_attention";
      if (!sliding && type != "full_attention") return keys.Wrong("layer_types", expected);
      if (sliding && window == 0) {
        return keys.Wrong("layer_types", "no sliding_attention without a sliding_window");
      }
    }
    layers[i].window = sliding ? window : 0;
    any = any || layers[i].window > 0;
  }
  if (any) config->layer_attention = std::move(layers);
  return absl::OkStatus();
}

Json LayerTypesJson(const ModelConfig& config) {
  Json types = Json::array();
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    types.push_back(config.layer(i).window > 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

int64_t WindowOf(const ModelConfig& config) {
  for (const LayerAttention& layer : config.layer_attention) {
    if (layer.window > 0) return layer.window;
  }
  return 0;
}

}  // namespace retort::layout
