// OPT.
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr SizeKeys kSizes = {.intermediate = "ffn_dim", .kv_heads = nullptr, .head_dim = nullptr};
constexpr int64_t kPositionOffset = 2;

absl::Status Read(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadSizes(
      keys, kSizes,
      {.vocab = 50272, .hidden = 768, .intermediate = 3072, .layers = 12, .heads = 12}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "activation_function", {"relu"}));
  RETORT_RETURN_IF_ERROR(keys.RequireBool("layer_norm_elementwise_affine", true));
  RETORT_ASSIGN_OR_RETURN(const bool before, keys.Bool("do_layer_norm_before", true));
  RETORT_ASSIGN_OR_RETURN(const bool no_final, keys.Bool("_remove_final_layer_norm", false));
  RETORT_ASSIGN_OR_RETURN(const bool bias, keys.Bool("enable_bias", true));
  RETORT_ASSIGN_OR_RETURN(const int64_t embedding,
                          keys.Int("word_embed_proj_dim", c->hidden_size, 1, kMaxWidth));
  RETORT_RETURN_IF_ERROR(CheckElements(keys, c->vocab_size + 2 * c->hidden_size, embedding));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", true));
  c->projected_size = embedding == c->hidden_size ? 0 : embedding;
  c->norm = {.kind = NormKind::kLayer, .eps = 1e-5};
  c->residual = before ? Residual::kPreNorm : Residual::kPostNorm;
  c->final_norm = before && !no_final;
  c->position.kind = PositionKind::kLearned;
  c->position.learned_offset = kPositionOffset;
  c->attention.qkv_bias = c->attention.o_bias = bias;
  c->mlp = {.gated = false, .activation = Activation::kRelu, .bias = bias};
  return absl::OkStatus();
}

void Write(const ModelConfig& c, Json* json) {
  WriteSizes(c, kSizes, json);
  const bool before = c.residual == Residual::kPreNorm;
  (*json)["activation_function"] = "relu";
  (*json)["do_layer_norm_before"] = before;
  (*json)["_remove_final_layer_norm"] = before && !c.final_norm;
  (*json)["enable_bias"] = c.attention.qkv_bias;
  (*json)["word_embed_proj_dim"] = c.embedding_size();
}

const TensorNames& Names() {
  static const TensorNames names = {
      .base = "model.",
      .embedding = "decoder.embed_tokens",
      .positions = "decoder.embed_positions",
      .project_in = "decoder.project_in",
      .project_out = "decoder.project_out",
      .final_norm = "decoder.final_layer_norm",
      .layers = "decoder.layers",
      .attention_norm = "self_attn_layer_norm",
      .mlp_norm = "final_layer_norm",
      .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
      .o = "self_attn.out_proj",
      .mlp_in = {"fc1"},
      .mlp_out = "fc2",
  };
  return names;
}

}  // namespace

const Family kOptFamily = {"opt", "OPTForCausalLM", "OPTForSequenceClassification", Read, Write,
                           Names};

}  // namespace retort::layout
