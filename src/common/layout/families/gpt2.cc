// GPT-2: its matrices lie in files as [in, out].
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr const char* kActivations[] = {"gelu_new", "gelu_pytorch_tanh"};

absl::Status Read(const ConfigKeys& file, ModelConfig* c) {
  RETORT_ASSIGN_OR_RETURN(const ConfigKeys keys, file.WithAliases(kGptAliases));
  RETORT_RETURN_IF_ERROR(
      ReadSizes(keys, kGptSizes,
                {.vocab = 50257, .hidden = 768, .layers = 12, .heads = 12, .positions = 1024}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "activation_function", kActivations));
  RETORT_RETURN_IF_ERROR(keys.RequireBool("scale_attn_weights", true));
  RETORT_RETURN_IF_ERROR(keys.RequireBool("scale_attn_by_inverse_layer_idx", false));
  keys.Find("reorder_and_upcast_attn");  // Concerns half precision only.
  c->norm.kind = NormKind::kLayer;
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("layer_norm_epsilon", 1e-5));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", true));
  c->position.kind = PositionKind::kLearned;
  c->attention.qkv_bias = c->attention.o_bias = true;
  c->mlp = {.gated = false, .activation = Activation::kGeluTanh, .bias = true};
  return absl::OkStatus();
}

void Write(const ModelConfig& c, Json* json) {
  WriteSizes(c, kGptSizes, json);
  (*json)["activation_function"] = kActivations[0];
  (*json)["layer_norm_epsilon"] = c.norm.eps;
}

const TensorNames& Names() {
  static const TensorNames names = {
      .base = "transformer.",
      .embedding = "wte",
      .positions = "wpe",
      .final_norm = "ln_f",
      .layers = "h",
      .attention_norm = "ln_1",
      .mlp_norm = "ln_2",
      .qkv = {"attn.c_attn"},
      .o = "attn.c_proj",
      .mlp_in = {"mlp.c_fc"},
      .mlp_out = "mlp.c_proj",
      .matrix_order = FileOrder::kTransposed,
      .ignored = {"attn.bias", "attn.masked_bias"},
  };
  return names;
}

}  // namespace

const Family kGpt2Family = {"gpt2", "GPT2LMHeadModel", "GPT2ForSequenceClassification", Read, Write,
                            Names};

}  // namespace retort::layout
