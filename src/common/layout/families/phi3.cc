// Phi-3.
#include "common/base/status_macros.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr SizeKeys kSizes = {.head_dim = nullptr};
constexpr RopeKeys kRope = {.partial = "partial_rotary_factor"};

absl::Status Read(const ConfigKeys& keys, ModelConfig* c) {
  RETORT_RETURN_IF_ERROR(ReadSizes(
      keys, kSizes, {.vocab = 32064, .hidden = 3072, .intermediate = 8192, .positions = 4096}, c));
  RETORT_RETURN_IF_ERROR(CheckActivation(keys, "hidden_act", {"silu", "swish"}));
  RETORT_ASSIGN_OR_RETURN(c->norm.eps, keys.Positive("rms_norm_eps", 1e-5));
  RETORT_ASSIGN_OR_RETURN(c->tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  RETORT_ASSIGN_OR_RETURN(const int64_t window, keys.Int("sliding_window", 0, 1, kMaxPositions));
  SlideAll(window, c);
  RETORT_RETURN_IF_ERROR(ReadRope(keys, kRope, c));
  if (c->position.ropes[0].type == RopeType::kDefault) return absl::OkStatus();
  // Transformers refuses it too.
  return keys.NotBuilt(keys.Find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters",
                       "no scaling for this model_type");
}

void Write(const ModelConfig& c, Json* json) {
  WriteSizes(c, kSizes, json);
  (*json)["original_max_position_embeddings"] = c.max_position_embeddings;
  (*json)["hidden_act"] = "silu";
  (*json)["rms_norm_eps"] = c.norm.eps;
  const int64_t window = WindowOf(c);
  (*json)["sliding_window"] = window == 0 ? Json() : Json(window);
  WriteRope(c, kRope, json);
}

const TensorNames& Names() {
  static const TensorNames names = [] {
    TensorNames names = LlamaNames();
    names.qkv = {"self_attn.qkv_proj"};
    names.mlp_in = {"mlp.gate_up_proj"};
    return names;
  }();
  return names;
}

}  // namespace

const Family kPhi3Family = {"phi3", "Phi3ForCausalLM", "Phi3ForSequenceClassification", Read, Write,
                            Names};

}  // namespace retort::layout
