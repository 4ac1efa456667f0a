#include "common/layout/model_config.h"

#include <cmath>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/layout/config_keys.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int kMaxEosTokens = 1024;

// Keys that change what some model computes and that no family here knows.
constexpr const char* kRefused[] = {
    "quantization_config", "add_cross_attention",
    "is_encoder_decoder",  "use_bidirectional_attention",
    "num_experts",         "num_local_experts",
    "logit_scale",         "residual_multiplier",
    "per_layer_config",    "transformers_weights",
};

// Keys that change nothing that is computed here: training settings, labels of files, caches.
constexpr const char* kHarmless[] = {
    "transformers_version",
    "use_cache",
    "torch_dtype",
    "dtype",
    "initializer_range",
    "init_std",
    "attention_dropout",
    "hidden_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "resid_pdrop",
    "dropout",
    "layerdrop",
    "pretraining_tp",
    "classifier_dropout",
    "task_specific_params",
    "_name_or_path",
    "name_or_path",
    "tokenizer_class",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "return_dict",
    "output_hidden_states",
    "output_attentions",
    "is_decoder",
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_first_dropout",
    "prefix",
    "cache_implementation",
    "n_ctx",
    "original_max_position_embeddings",
    "auto_map",
    "attn_implementation",
};

// What the other style says in another way.
constexpr const char* kOnlyTransformers4[] = {
    "torch_dtype", "rope_theta",      "rope_scaling",          "rope_local_base_freq",
    "rotary_pct",  "rotary_emb_base", "partial_rotary_factor", "sliding_window_pattern",
};
constexpr const char* kOnlyTransformers5[] = {"dtype", "rope_parameters"};

void Erase(absl::Span<const char* const> keys, Json* json) {
  for (const char* key : keys) json->erase(key);
}

// A run folder is easily taken for the model in it.
absl::Status CheckNotAbove(const std::string& path) {
  const std::filesystem::path file(path);
  const std::filesystem::path inner = file.parent_path() / "model";
  if (FileExists(path) || !FileExists((inner / file.filename()).string())) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(file.parent_path().string(), " is no model folder, but ",
                                          inner.string(), " is; did you mean that?"));
}

absl::StatusOr<Json> ReadObject(const std::string& path) {
  RETORT_RETURN_IF_ERROR(CheckNotAbove(path));
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  RETORT_ASSIGN_OR_RETURN(Json json, ParseJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a JSON object"));
  }
  return json;
}

// A missing key, null, one id, or (eos) a list of ids.
absl::Status ReadTokenIds(const ConfigKeys& keys, const char* key, int64_t vocab_size,
                          std::vector<int64_t>* ids) {
  const Json* value = keys.Find(key);
  if (value == nullptr) return absl::OkStatus();
  const Json list = value->is_array() ? *value : Json::array({*value});
  const std::string expected =
      absl::StrCat("an id in [0, ", vocab_size, ") or a list of at most ", kMaxEosTokens);
  if (list.size() > kMaxEosTokens) return keys.Wrong(key, expected);
  ids->clear();
  for (const Json& id : list) {
    // An unsigned above the signed range would read as a negative number.
    const bool whole = id.is_number_integer() &&
                       !(id.is_number_unsigned() && id.get<uint64_t>() > uint64_t{INT64_MAX});
    // Transformers writes -1 for "none" in some old files.
    if (whole && id.get<int64_t>() == -1) continue;
    if (!whole || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab_size) {
      return keys.Wrong(key, expected);
    }
    ids->push_back(id.get<int64_t>());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<int64_t>> ReadTokenId(const ConfigKeys& keys, const char* key,
                                                   int64_t vocab_size) {
  std::vector<int64_t> ids;
  RETORT_RETURN_IF_ERROR(ReadTokenIds(keys, key, vocab_size, &ids));
  return ids.empty() ? std::optional<int64_t>() : std::optional<int64_t>(ids[0]);
}

absl::StatusOr<const Family*> ReadFamily(const ConfigKeys& keys) {
  RETORT_ASSIGN_OR_RETURN(const std::string type, keys.String("model_type", std::nullopt));
  const Family* family = FindFamily(type);
  if (family == nullptr) {
    return absl::UnimplementedError(absl::StrCat(keys.where(), ": model_type \"", Printable(type),
                                                 "\" is not built; expected one of ",
                                                 absl::StrJoin(ModelTypes(), ", ")));
  }
  return family;
}

// The number of labels: num_labels, or the size of id2label; Transformers takes 2 without either.
absl::StatusOr<int64_t> ReadLabels(const ConfigKeys& keys) {
  const Json* names = keys.Find("id2label");
  const bool listed = names != nullptr && names->is_object();
  return keys.Int("num_labels", listed ? static_cast<int64_t>(names->size()) : 2, 0, 1 << 20);
}

absl::Status ReadTask(const ConfigKeys& keys, ModelConfig* config) {
  const Json* list = keys.Find("architectures");
  if (list == nullptr || (list->is_array() && list->empty())) return absl::OkStatus();
  if (!list->is_array() || !list->front().is_string()) {
    return keys.Wrong("architectures", "a list of class names");
  }
  const std::string name = list->front().get<std::string>();
  if (absl::EndsWith(name, "ForSequenceClassification")) {
    config->task = Task::kSequenceClassification;
    RETORT_ASSIGN_OR_RETURN(const int64_t labels, ReadLabels(keys));
    if (labels == 1) return absl::OkStatus();
    return absl::UnimplementedError(absl::StrCat(
        keys.where(), ": ", labels, " labels (id2label, num_labels) are not built; expected 1"));
  }
  for (const char* causal : {"ForCausalLM", "LMHeadModel", "LMHeadModelWithValueHead",
                             "ForCausalLMWithValueHead", "Model"}) {
    if (absl::EndsWith(name, causal)) return absl::OkStatus();
  }
  return keys.NotBuilt("architectures", "a ...ForCausalLM or ...ForSequenceClassification");
}

absl::Status ReadTokens(const ConfigKeys& keys, const std::string& folder, ModelConfig* c) {
  RETORT_ASSIGN_OR_RETURN(c->bos_token_id, ReadTokenId(keys, "bos_token_id", c->vocab_size));
  RETORT_ASSIGN_OR_RETURN(c->pad_token_id, ReadTokenId(keys, "pad_token_id", c->vocab_size));
  RETORT_RETURN_IF_ERROR(ReadTokenIds(keys, "eos_token_id", c->vocab_size, &c->eos_token_ids));
  const std::string path = folder + "/generation_config.json";
  if (!FileExists(path)) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  return ReadTokenIds(ConfigKeys(json, path), "eos_token_id", c->vocab_size, &c->eos_token_ids);
}

absl::StatusOr<ModelConfig> ReadConfig(const ConfigKeys& keys, const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(const Family* family, ReadFamily(keys));
  for (const char* key : kRefused) RETORT_RETURN_IF_ERROR(keys.RefuseSet(key));
  RETORT_RETURN_IF_ERROR(keys.RequireBool("is_causal", true));
  ModelConfig config;
  config.model_type = family->model_type;
  RETORT_RETURN_IF_ERROR(ReadTask(keys, &config));
  RETORT_RETURN_IF_ERROR(family->read(keys, &config));
  RETORT_RETURN_IF_ERROR(ReadTokens(keys, folder, &config));
  return config;
}

Json IdOrNull(const std::optional<int64_t>& id) { return id.has_value() ? Json(*id) : Json(); }

Json EosJson(const std::vector<int64_t>& ids) {
  if (ids.empty()) return Json();
  return ids.size() == 1 ? Json(ids[0]) : Json(ids);
}

}  // namespace

int64_t ModelConfig::rotary_dim() const {
  if (position.kind != PositionKind::kRotary) return 0;
  return position.rotary_dim == 0 ? head_dim : position.rotary_dim;
}

double ModelConfig::attention_scale() const {
  const double scalar =
      attention.query_scalar == 0 ? static_cast<double>(head_dim) : attention.query_scalar;
  return 1.0 / std::sqrt(scalar);
}

absl::StatusOr<std::string> ReadModelType(const std::string& folder) {
  const std::string path = folder + "/config.json";
  RETORT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  return ConfigKeys(json, path).String("model_type", std::nullopt);
}

std::vector<std::string> ModelTypes() {
  std::vector<std::string> types;
  for (const Family* family : Families()) types.push_back(family->model_type);
  return types;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  RETORT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  return ReadConfig(ConfigKeys(json, path), folder);
}

absl::StatusOr<ModelConfig> LoadCausalConfig(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(folder));
  if (config.task == Task::kCausalLm) return config;
  return absl::InvalidArgumentError(
      absl::StrCat(folder,
                   "/config.json: architectures names a sequence classification; expected "
                   "a causal language model"));
}

absl::StatusOr<std::vector<std::string>> UnknownConfigKeys(const std::string& folder) {
  const std::string path = folder + "/config.json";
  RETORT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  const ConfigKeys keys(json, path);
  RETORT_RETURN_IF_ERROR(ReadConfig(keys, folder).status());
  for (const char* key : kHarmless) keys.Find(key);  // Now it is known.
  std::vector<std::string> unknown;
  for (const auto& [key, value] : json.items()) {
    if (!keys.Known(key)) unknown.push_back(key);
  }
  return unknown;
}

std::string ModelConfigJson(const ModelConfig& config, ConfigStyle style,
                            const std::string& dtype) {
  const Family* family = FindFamily(config.model_type);
  RETORT_CHECK(family != nullptr) << "model_type " << config.model_type;
  const bool scores = config.task == Task::kSequenceClassification;
  Json json;
  json["architectures"] = Json::array({scores ? family->sequence_class : family->causal_class});
  json["model_type"] = config.model_type;
  family->write(config, &json);
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (scores) json["id2label"] = {{"0", "LABEL_0"}};
  json["bos_token_id"] = IdOrNull(config.bos_token_id);
  json["eos_token_id"] = EosJson(config.eos_token_ids);
  json["pad_token_id"] = IdOrNull(config.pad_token_id);
  json["torch_dtype"] = dtype;
  json["dtype"] = dtype;
  if (style == ConfigStyle::kTransformers4) Erase(kOnlyTransformers5, &json);
  if (style == ConfigStyle::kTransformers5) Erase(kOnlyTransformers4, &json);
  return DumpJson(json, 2) + "\n";
}

std::string GenerationConfigJson(const ModelConfig& config) {
  Json json;
  json["bos_token_id"] = IdOrNull(config.bos_token_id);
  json["eos_token_id"] = EosJson(config.eos_token_ids);
  json["pad_token_id"] = IdOrNull(config.pad_token_id);
  return DumpJson(json, 2) + "\n";
}

}  // namespace retort::layout
