// Qwen2 and Qwen3.
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr RopeKeys kRope;
constexpr SizeKeys kQwen2Sizes = {.head_dim = nullptr};
constexpr int64_t kMaxLayerIndex = 1 << 20;

bool FromLayer(int64_t layer, int64_t first) { return layer >= first; }

// Layers from max_window_layers on slide, if use_sliding_window.
absl::Status ReadWindows(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_ASSIGN_OR_RETURN(const bool use, keys.Bool("use_sliding_window", false));
  RETORT_ASSIGN_OR_RETURN(const int64_t window, keys.Int("sliding_window", 4096, 1, kMaxPositions));
  RETORT_ASSIGN_OR_RETURN(const int64_t first,
                          keys.Int("max_window_layers", 28, 0, kMaxLayerIndex));
  return ReadLayerTypes(keys, use && !keys.HasNull("sliding_window") ? window : 0, FromLayer, first,
                        c);
}

void WriteWindows(const ModelConfig& c, Json* json) {
  const int64_t window = WindowOf(c);
  int64_t first = 0;
  while (first < c.num_hidden_layers && c.layer(first).window == 0) ++first;
  (*json)["use_sliding_window"] = window > 0;
  (*json)["sliding_window"] = window > 0 ? Json(window) : Json();
  (*json)["max_window_layers"] = first;
  (*json)["layer_types"] = LayerTypesJson(c);
}

absl::Status ReadCommon(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "hidden_act", {"silu", "swish"}));
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("rms_norm_eps", 1e-6));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  RETORT_RETURN_IF_ERROR(ReadWindows(keys, c));
  return ReadRope(keys, kRope, c);
}

void WriteCommon(const ModelConfig& c, Json* json) {
  (*json)["hidden_act"] = "silu";
  (*json)["rms_norm_eps"] = c.norm.eps;
  WriteWindows(c, json);
  WriteRope(c, kRope, json);
}

absl::Status ReadQwen2(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(
      ReadSizes(keys, kQwen2Sizes,
                {.vocab = 151936, .intermediate = 22016, .kv_heads = 32, .positions = 32768}, c));
  c->attention.qkv_bias = true;
  return ReadCommon(keys, c);
}

void WriteQwen2(const ModelConfig& c, Json* json) {
  WriteSizes(c, kQwen2Sizes, json);
  WriteCommon(c, json);
}

absl::Status ReadQwen3(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadSizes(
      keys, SizeKeys(),
      {.vocab = 151936, .intermediate = 22016, .kv_heads = 32, .head_dim = 128, .positions = 32768},
      c));
  RETORT_ASSIGN_OR_RETURN(const bool attention_bias, keys.Bool("attention_bias", false));
  c->attention.qkv_bias = c->attention.o_bias = attention_bias;
  c->attention.qk_norm = true;
  return ReadCommon(keys, c);
}

void WriteQwen3(const ModelConfig& c, Json* json) {
  WriteSizes(c, SizeKeys(), json);
  (*json)["attention_bias"] = c.attention.qkv_bias;
  WriteCommon(c, json);
}

const TensorNames& Qwen3Names() {
  static const TensorNames names = WithQkNorm(LlamaNames());
  return names;
}

}  // namespace

const Family kQwen2Family = {"qwen2",   "Qwen2ForCausalLM", "Qwen2ForSequenceClassification",
                             ReadQwen2, WriteQwen2,         LlamaNames};
const Family kQwen3Family = {"qwen3",   "Qwen3ForCausalLM", "Qwen3ForSequenceClassification",
                             ReadQwen3, WriteQwen3,         Qwen3Names};

}  // namespace retort::layout
