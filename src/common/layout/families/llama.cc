// Llama and Mistral.
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr RopeKeys kRope;

absl::Status ReadLlama(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadSizes(keys, SizeKeys(), {.intermediate = 11008}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "hidden_act", {"silu", "swish"}));
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("rms_norm_eps", 1e-6));
  RETORT_ASSIGN_OR_RETURN(const bool attention_bias, keys.Bool("attention_bias", false));
  c->attention.qkv_bias = c->attention.o_bias = attention_bias;
  RETORT_ASSIGN_OR_RETURN(c->mlp.bias, keys.Bool("mlp_bias", false));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  return ReadRope(keys, kRope, c);
}

void WriteLlama(const ModelConfig& c, Json* json) {
  WriteSizes(c, SizeKeys(), json);
  (*json)["hidden_act"] = "silu";
  (*json)["rms_norm_eps"] = c.norm.eps;
  (*json)["attention_bias"] = c.attention.qkv_bias;
  (*json)["mlp_bias"] = c.mlp.bias;
  WriteRope(c, kRope, json);
}

absl::Status ReadMistral(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(
      ReadSizes(keys, SizeKeys(), {.intermediate = 14336, .kv_heads = 8, .positions = 131072}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "hidden_act", {"silu", "swish"}));
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("rms_norm_eps", 1e-6));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  const int64_t fallback = keys.HasNull("sliding_window") ? 0 : 4096;
  RETORT_ASSIGN_OR_RETURN(const int64_t window,
                          keys.Int("sliding_window", fallback, 1, kMaxPositions));
  SlideAll(window, c);
  return ReadRope(keys, kRope, c);
}

void WriteMistral(const ModelConfig& c, Json* json) {
  WriteSizes(c, SizeKeys(), json);
  (*json)["hidden_act"] = "silu";
  (*json)["rms_norm_eps"] = c.norm.eps;
  const int64_t window = WindowOf(c);
  (*json)["sliding_window"] = window == 0 ? Json() : Json(window);
  WriteRope(c, kRope, json);
}

}  // namespace

const TensorNames& LlamaNames() {
  static const TensorNames names = {
      .base = "model.",
      .embedding = "embed_tokens",
      .final_norm = "norm",
      .layers = "layers",
      .attention_norm = "input_layernorm",
      .mlp_norm = "post_attention_layernorm",
      .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
      .o = "self_attn.o_proj",
      .mlp_in = {"mlp.gate_proj", "mlp.up_proj"},
      .mlp_out = "mlp.down_proj",
      .ignored = {"self_attn.rotary_emb.inv_freq"},
  };
  return names;
}

const Family kLlamaFamily = {"llama",   "LlamaForCausalLM", "LlamaForSequenceClassification",
                             ReadLlama, WriteLlama,         LlamaNames};
const Family kMistralFamily = {
    "mistral",   "MistralForCausalLM", "MistralForSequenceClassification",
    ReadMistral, WriteMistral,         LlamaNames};

}  // namespace retort::layout
