// GPT-J: rotary pairs side by side, one norm for attention and MLP.
#include "absl/strings/str_cat.h"
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
                {.vocab = 50400, .hidden = 4096, .layers = 28, .heads = 16, .positions = 2048}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "activation_function", kActivations));
  c->norm.kind = NormKind::kLayer;
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("layer_norm_epsilon", 1e-5));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  RETORT_ASSIGN_OR_RETURN(const int64_t rotary, keys.Int("rotary_dim", 64, 2, kMaxWidth));
  if (rotary > c->head_dim || rotary % 2 != 0 || keys.HasNull("rotary_dim")) {
    return keys.Wrong("rotary_dim",
                      absl::StrCat("an even number of at most n_embd / n_head = ", c->head_dim));
  }
  c->position.rotary_dim = rotary == c->head_dim ? 0 : rotary;
  c->position.interleaved = true;
  c->residual = Residual::kParallelOne;
  c->mlp = {.gated = false, .activation = Activation::kGeluTanh, .bias = true};
  c->head_bias = true;
  return absl::OkStatus();
}

void Write(const ModelConfig& c, Json* json) {
  WriteSizes(c, kGptSizes, json);
  (*json)["activation_function"] = kActivations[0];
  (*json)["layer_norm_epsilon"] = c.norm.eps;
  (*json)["rotary_dim"] = c.rotary_dim();
}

const TensorNames& Names() {
  static const TensorNames names = {
      .base = "transformer.",
      .embedding = "wte",
      .final_norm = "ln_f",
      .layers = "h",
      .attention_norm = "ln_1",
      .qkv = {"attn.q_proj", "attn.k_proj", "attn.v_proj"},
      .o = "attn.out_proj",
      .mlp_in = {"mlp.fc_in"},
      .mlp_out = "mlp.fc_out",
      .ignored = {"attn.bias", "attn.masked_bias", "attn.embed_positions"},
  };
  return names;
}

}  // namespace

const Family kGptjFamily = {"gptj", "GPTJForCausalLM", "GPTJForSequenceClassification", Read, Write,
                            Names};

}  // namespace retort::layout
