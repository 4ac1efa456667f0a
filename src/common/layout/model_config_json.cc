#include "common/base/json.h"
#include "common/layout/model_config.h"

namespace retort::layout {
namespace {

Json RopeJson(const RopeConfig& rope) {
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

Json IdOrNull(const std::optional<int64_t>& id) { return id.has_value() ? Json(*id) : Json(); }

Json EosJson(const std::vector<int64_t>& ids) {
  if (ids.empty()) return Json();
  return ids.size() == 1 ? Json(ids[0]) : Json(ids);
}

}  // namespace

std::string ModelConfigJson(const ModelConfig& config) {
  Json json;
  json["architectures"] = Json::array({"LlamaForCausalLM"});
  json["model_type"] = config.model_type;
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["head_dim"] = config.head_dim;
  json["hidden_act"] = "silu";
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["attention_bias"] = config.attention_bias;
  json["mlp_bias"] = config.mlp_bias;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  const Json rope = RopeJson(config.rope);
  json["rope_theta"] = config.rope.theta;
  json["rope_scaling"] = config.rope.type == RopeType::kDefault ? Json() : rope;
  json["rope_parameters"] = rope;
  json["rope_parameters"]["rope_theta"] = config.rope.theta;
  json["bos_token_id"] = IdOrNull(config.bos_token_id);
  json["eos_token_id"] = EosJson(config.eos_token_ids);
  json["pad_token_id"] = IdOrNull(config.pad_token_id);
  json["torch_dtype"] = "float32";
  json["dtype"] = "float32";
  return json.dump(2) + "\n";
}

std::string GenerationConfigJson(const ModelConfig& config) {
  Json json;
  json["bos_token_id"] = IdOrNull(config.bos_token_id);
  json["eos_token_id"] = EosJson(config.eos_token_ids);
  json["pad_token_id"] = IdOrNull(config.pad_token_id);
  return json.dump(2) + "\n";
}

}  // namespace retort::layout
