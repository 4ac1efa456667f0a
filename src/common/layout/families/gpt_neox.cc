// GPT-NeoX (Pythia): q, k and v of one head lie together in files.
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr SizeKeys kSizes = {.kv_heads = nullptr, .head_dim = nullptr};
constexpr RopeKeys kRope = {
    .theta = "rotary_emb_base", .partial = "rotary_pct", .default_partial = 0.25};

absl::Status Read(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadSizes(
      keys, kSizes,
      {.vocab = 50432, .hidden = 6144, .intermediate = 24576, .layers = 44, .heads = 64}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "hidden_act", {"gelu"}));
  c->norm.kind = NormKind::kLayer;
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("layer_norm_eps", 1e-5));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  RETORT_ASSIGN_OR_RETURN(const bool parallel, keys.Bool("use_parallel_residual", true));
  c->residual = parallel ? Residual::kParallel : Residual::kPreNorm;
  RETORT_ASSIGN_OR_RETURN(const bool bias, keys.Bool("attention_bias", true));
  c->attention.qkv_bias = c->attention.o_bias = bias;
  c->mlp = {.gated = false, .activation = Activation::kGelu, .bias = true};
  return ReadRope(keys, kRope, c);
}

void Write(const ModelConfig& c, Json* json) {
  WriteSizes(c, kSizes, json);
  (*json)["hidden_act"] = "gelu";
  (*json)["layer_norm_eps"] = c.norm.eps;
  (*json)["use_parallel_residual"] = c.residual == Residual::kParallel;
  (*json)["attention_bias"] = c.attention.qkv_bias;
  WriteRope(c, kRope, json);
}

const TensorNames& Names() {
  static const TensorNames names = {
      .base = "gpt_neox.",
      .embedding = "embed_in",
      .final_norm = "final_layer_norm",
      .layers = "layers",
      .attention_norm = "input_layernorm",
      .mlp_norm = "post_attention_layernorm",
      .qkv = {"attention.query_key_value"},
      .o = "attention.dense",
      .mlp_in = {"mlp.dense_h_to_4h"},
      .mlp_out = "mlp.dense_4h_to_h",
      .head = "embed_out",
      .qkv_order = FileOrder::kHeadThenPart,
      .ignored = {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"},
  };
  return names;
}

}  // namespace

const Family kGptNeoxFamily = {
    "gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXForSequenceClassification", Read, Write, Names};

}  // namespace retort::layout
