// Gemma 2 and the text part of Gemma 3.
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr const char* kActivations[] = {"gelu_pytorch_tanh", "gelu_new"};
constexpr double kGlobalTheta = 1e6, kLocalTheta = 1e4;  // Of Gemma 3.
constexpr char kPartial[] = "partial_rotary_factor";
constexpr RopeKeys kGemma2Rope;

bool EvenLayer(int64_t layer, int64_t) { return layer % 2 == 0; }
bool NotEveryNth(int64_t layer, int64_t n) { return (layer + 1) % n != 0; }

absl::Status ReadCommon(const ConfigKeys& keys, int64_t vocab, int64_t positions, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadSizes(keys, SizeKeys(),
                                   {.vocab = vocab,
                                    .hidden = 2304,
                                    .intermediate = 9216,
                                    .layers = 26,
                                    .heads = 8,
                                    .kv_heads = 4,
                                    .head_dim = 256,
                                    .positions = positions},
                                   c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "hidden_activation", kActivations));
  keys.Find("hidden_act");  // Old files say "gelu" here; Transformers reads hidden_activation.
  c->mlp.activation = Activation::kGeluTanh;
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("rms_norm_eps", 1e-6));
  c->norm.add_one = true;
  c->residual = Residual::kSandwich;
  c->embedding_scale = std::sqrt(static_cast<double>(c->hidden_size));
  RETORT_ASSIGN_OR_RETURN(const bool attention_bias, keys.Bool("attention_bias", false));
  c->attention.qkv_bias = c->attention.o_bias = attention_bias;
  RETORT_ASSIGN_OR_RETURN(c->attention.query_scalar, keys.Positive("query_pre_attn_scalar", 256.0));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", true));
  return absl::OkStatus();
}

void WriteCommon(const ModelConfig& c, Json* json) {
  WriteSizes(c, SizeKeys(), json);
  (*json)["hidden_activation"] = kActivations[0];
  (*json)["rms_norm_eps"] = c.norm.eps;
  (*json)["attention_bias"] = c.attention.qkv_bias;
  // Transformers 5 takes no 256.0 here.
  const double scalar = c.attention.query_scalar;
  const bool whole = scalar == std::floor(scalar) && scalar < 1e9;
  (*json)["query_pre_attn_scalar"] = whole ? Json(static_cast<int64_t>(scalar)) : Json(scalar);
  (*json)["layer_types"] = LayerTypesJson(c);
}

Json CapOrNull(double cap) { return cap == 0 ? Json() : Json(cap); }

// Null switches no window off: Transformers cannot compute with it.
absl::StatusOr<int64_t> ReadWindow(const ConfigKeys& keys) {
  if (keys.HasNull("sliding_window")) {
    return keys.Wrong("sliding_window",
                      absl::StrCat("an integer in [1, ", kMaxPositions,
                                   "]; for layers without a "
                                   "window name them full_attention in layer_types"));
  }
  return keys.Int("sliding_window", 4096, 1, kMaxPositions);
}

absl::Status ReadGemma2(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadCommon(keys, 256000, 8192, c));
  RETORT_ASSIGN_OR_RETURN(c->attention.soft_cap,
                          keys.PositiveOrNull("attn_logit_softcapping", 50.0, 0));
  RETORT_ASSIGN_OR_RETURN(c->final_soft_cap,
                          keys.PositiveOrNull("final_logit_softcapping", 30.0, 0));
  RETORT_ASSIGN_OR_RETURN(const int64_t window, ReadWindow(keys));
  RETORT_RETURN_IF_ERROR(ReadLayerTypes(keys, window, EvenLayer, 0, c));
  return ReadRope(keys, kGemma2Rope, c);
}

void WriteGemma2(const ModelConfig& c, Json* json) {
  WriteCommon(c, json);
  (*json)["attn_logit_softcapping"] = CapOrNull(c.attention.soft_cap);
  (*json)["final_logit_softcapping"] = CapOrNull(c.final_soft_cap);
  const int64_t window = WindowOf(c);
  if (window > 0) (*json)["sliding_window"] = window;
  WriteRope(c, kGemma2Rope, json);
}

// Sliding layers have a table of their own. Transformers 5 nests two objects in rope_parameters.
absl::Status ReadGemma3Table(const ConfigKeys& table, const ModelConfig& c, RopeConfig* rope) {
  RETORT_ASSIGN_OR_RETURN(rope->theta, table.Positive("rope_theta", rope->theta));
  RETORT_RETURN_IF_ERROR(table.RequireNumber(kPartial, 1, "this model_type"));
  return ReadRopeScaling(table, c.max_position_embeddings, rope);
}

absl::Status ReadGemma3Nested(const ConfigKeys& v5, const ModelConfig& c, RopeConfig* full,
                              RopeConfig* local) {
  const std::pair<const char*, RopeConfig*> tables[] = {{"full_attention", full},
                                                        {"sliding_attention", local}};
  for (const auto& [key, rope] : tables) {
    RETORT_ASSIGN_OR_RETURN(const std::optional<ConfigKeys> table, v5.Object(key));
    if (table.has_value()) RETORT_RETURN_IF_ERROR(ReadGemma3Table(*table, c, rope));
  }
  for (const auto& [key, value] : v5.object().items()) {
    if (value.is_null() || v5.Known(key)) continue;
    return v5.Wrong(key, "full_attention and sliding_attention, each with a table");
  }
  return absl::OkStatus();
}

absl::Status ReadGemma3Ropes(const ConfigKeys& keys, ModelConfig* c) {
  RopeConfig full, local;
  RETORT_ASSIGN_OR_RETURN(full.theta, keys.Positive("rope_theta", kGlobalTheta));
  RETORT_ASSIGN_OR_RETURN(local.theta, keys.Positive("rope_local_base_freq", kLocalTheta));
  RETORT_RETURN_IF_ERROR(keys.RequireNumber(kPartial, 1, "this model_type"));
  RETORT_ASSIGN_OR_RETURN(const std::optional<ConfigKeys> v5, RopeObject(keys, "rope_parameters"));
  RETORT_ASSIGN_OR_RETURN(const std::optional<ConfigKeys> v4, RopeObject(keys, "rope_scaling"));
  if (v5.has_value()) RETORT_RETURN_IF_ERROR(ReadGemma3Nested(*v5, *c, &full, &local));
  if (v4.has_value()) {
    RopeConfig scaled;
    scaled.theta = full.theta;
    RETORT_RETURN_IF_ERROR(ReadGemma3Table(*v4, *c, &scaled));
    if (v5.has_value() && !(scaled == full)) return RopesDisagree(keys);
    full = scaled;
  }
  if (c->head_dim % 2 != 0) return keys.Wrong("head_dim", "an even number");
  c->position.ropes = {full, local};
  for (LayerAttention& layer : c->layer_attention) layer.rope = layer.window > 0 ? 1 : 0;
  return absl::OkStatus();
}

absl::Status ReadGemma3(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadCommon(keys, 262208, 131072, c));
  c->attention.qk_norm = true;
  RETORT_RETURN_IF_ERROR(keys.RefuseSet("attn_logit_softcapping"));
  RETORT_RETURN_IF_ERROR(keys.RefuseSet("final_logit_softcapping"));
  RETORT_ASSIGN_OR_RETURN(const int64_t window, ReadWindow(keys));
  RETORT_ASSIGN_OR_RETURN(const int64_t nth, keys.Int("sliding_window_pattern", 6, 1, 1 << 20));
  // Transformers writes this one too, and reads it nowhere.
  if (keys.Find("layer_types") == nullptr) {
    RETORT_RETURN_IF_ERROR(keys.RequireNumber("_sliding_window_pattern", static_cast<double>(nth),
                                              "sliding_window_pattern (default 6)"));
  }
  keys.Find("_sliding_window_pattern");
  RETORT_RETURN_IF_ERROR(ReadLayerTypes(keys, window, NotEveryNth, nth, c));
  return ReadGemma3Ropes(keys, c);
}

// The n that makes old libraries see the same layers slide, if there is one.
int64_t PatternOf(const ModelConfig& c) {
  int64_t first = 0;
  while (first < c.num_hidden_layers && c.layer(first).window > 0) ++first;
  return first + 1;
}

void WriteGemma3(const ModelConfig& c, Json* json) {
  WriteCommon(c, json);
  const int64_t window = WindowOf(c);
  if (window > 0) (*json)["sliding_window"] = window;
  (*json)["sliding_window_pattern"] = PatternOf(c);
  const RopeConfig &full = c.position.ropes[0], &local = c.position.ropes[1];
  const Json scaling = RopeScalingJson(full);
  (*json)["rope_theta"] = full.theta;
  (*json)["rope_scaling"] = full.type == RopeType::kDefault ? Json() : scaling;
  (*json)["rope_local_base_freq"] = local.theta;
  Json& both = (*json)["rope_parameters"];
  both["full_attention"] = scaling;
  both["full_attention"]["rope_theta"] = full.theta;
  both["sliding_attention"] = RopeScalingJson(local);
  both["sliding_attention"]["rope_theta"] = local.theta;
}

TensorNames SandwichNames() {
  TensorNames names = LlamaNames();
  names.attention_out_norm = "post_attention_layernorm";
  names.mlp_norm = "pre_feedforward_layernorm";
  names.mlp_out_norm = "post_feedforward_layernorm";
  return names;
}

const TensorNames& Gemma2Names() {
  static const TensorNames names = SandwichNames();
  return names;
}

const TensorNames& Gemma3Names() {
  static const TensorNames names = WithQkNorm(SandwichNames());
  return names;
}

}  // namespace

const Family kGemma2Family = {"gemma2",   "Gemma2ForCausalLM", "Gemma2ForSequenceClassification",
                              ReadGemma2, WriteGemma2,         Gemma2Names};
const Family kGemma3Family = {
    "gemma3_text", "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification",
    ReadGemma3,    WriteGemma3,         Gemma3Names};

}  // namespace retort::layout
