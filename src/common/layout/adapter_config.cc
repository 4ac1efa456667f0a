#include "common/layout/adapter_config.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/layout/config_keys.h"
#include "common/layout/family.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxRank = 1 << 14;
constexpr size_t kMaxTargets = 4096;

// Options of PEFT that change the mathematics. Empty lists and objects ask for nothing.
constexpr const char* kRefused[] = {
    "rank_pattern",      "alpha_pattern",           "use_dora",        "modules_to_save",
    "lora_bias",         "layers_to_transform",     "layers_pattern",  "layer_replication",
    "target_parameters", "trainable_token_indices", "exclude_modules", "use_qalora",
    "use_bdlora",        "alora_invocation_tokens", "arrow_config",    "kasa_config",
    "velora_config",     "monteclora_config",
};

// Values of init_lora_weights under which A and B start beside the model. Under every other one
// (pissa, olora, corda, lora_ga, loftq) the model's own weights were changed to make room for them.
constexpr absl::string_view kInitsBesideTheModel[] = {"gaussian", "eva", "orthogonal", "mica"};

absl::Status CheckInit(const ConfigKeys& keys) {
  const Json* init = keys.Find("init_lora_weights");
  if (init == nullptr || init->is_boolean()) return absl::OkStatus();
  for (const absl::string_view name : kInitsBesideTheModel) {
    if (init->is_string() && absl::EqualsIgnoreCase(init->get<std::string>(), name)) {
      return absl::OkStatus();
    }
  }
  return keys.NotBuilt("init_lora_weights",
                       "true, false, gaussian, eva, orthogonal or mica, which leave the model's "
                       "weights alone; save the adapter with PEFT's "
                       "path_initial_model_for_weight_conversion");
}

absl::Status RefuseOptions(const ConfigKeys& keys) {
  for (const char* key : kRefused) {
    const Json* value = keys.Find(key);
    if (value != nullptr && value->is_structured() && value->empty()) continue;
    RETORT_RETURN_IF_ERROR(keys.RefuseSet(key));
  }
  RETORT_RETURN_IF_ERROR(CheckInit(keys));
  RETORT_ASSIGN_OR_RETURN(const std::string type, keys.String("peft_type", std::nullopt));
  if (type != "LORA") return keys.NotBuilt("peft_type", "\"LORA\"");
  RETORT_ASSIGN_OR_RETURN(const std::string bias, keys.String("bias", "none"));
  return bias == "none" ? absl::OkStatus() : keys.NotBuilt("bias", "\"none\"");
}

absl::Status ReadTargets(const ConfigKeys& keys, AdapterConfig* config) {
  const Json* targets = keys.Find("target_modules");
  if (targets != nullptr && targets->is_string()) {
    config->all_linear = *targets == kAllLinear;
    return config->all_linear
               ? absl::OkStatus()
               : keys.NotBuilt("target_modules", "a list of module names or \"all-linear\"");
  }
  const std::string expected = absl::StrCat("a list of 1 to ", kMaxTargets, " module names");
  if (targets == nullptr || !targets->is_array() || targets->empty() ||
      targets->size() > kMaxTargets) {
    return keys.Wrong("target_modules", expected);
  }
  for (const Json& target : *targets) {
    if (!target.is_string() || target.get<std::string>().empty()) {
      return keys.Wrong("target_modules", expected);
    }
    config->targets.push_back(target.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadDropout(const ConfigKeys& keys, AdapterConfig* config) {
  const Json* dropout = keys.Find("lora_dropout");
  if (dropout == nullptr) return absl::OkStatus();
  if (!dropout->is_number() || dropout->get<double>() < 0 || dropout->get<double>() > 1) {
    return keys.Wrong("lora_dropout", "a number from 0 to 1");
  }
  config->dropout = dropout->get<double>();
  return absl::OkStatus();
}

}  // namespace

double AdapterConfig::scale() const {
  const double r = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(r) : r);
}

bool AdapterConfig::Targets(absl::string_view module) const {
  return std::any_of(targets.begin(), targets.end(), [&](const std::string& target) {
    return module == target || absl::EndsWith(module, absl::StrCat(".", target));
  });
}

absl::StatusOr<AdapterConfig> LoadAdapterConfig(const std::string& folder) {
  const std::string path = folder + "/adapter_config.json";
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  RETORT_ASSIGN_OR_RETURN(const Json json, ParseJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a JSON object"));
  }
  const ConfigKeys keys(json, path);
  RETORT_RETURN_IF_ERROR(RefuseOptions(keys));
  AdapterConfig config;
  RETORT_ASSIGN_OR_RETURN(config.rank, keys.Int("r", 8, 1, kMaxRank));
  RETORT_ASSIGN_OR_RETURN(config.alpha, keys.Positive("lora_alpha", 8.0));
  RETORT_ASSIGN_OR_RETURN(config.rslora, keys.Bool("use_rslora", false));
  RETORT_RETURN_IF_ERROR(ReadTargets(keys, &config));
  RETORT_RETURN_IF_ERROR(ReadDropout(keys, &config));
  return config;
}

std::string AdapterConfigJson(const AdapterConfig& config, const ModelConfig& base) {
  const bool scores = base.task == Task::kSequenceClassification;
  const bool transposed =
      FindFamily(base.model_type)->names().matrix_order == FileOrder::kTransposed;
  Json json;
  json["peft_type"] = "LORA";
  json["task_type"] = scores ? "SEQ_CLS" : "CAUSAL_LM";
  json["base_model_name_or_path"] = Json();
  json["r"] = config.rank;
  json["lora_alpha"] = config.alpha;
  json["use_rslora"] = config.rslora;
  json["target_modules"] = config.all_linear ? Json(kAllLinear) : Json(config.targets);
  json["fan_in_fan_out"] = transposed;
  json["lora_dropout"] = config.dropout;
  json["bias"] = "none";
  json["inference_mode"] = true;
  return DumpJson(json, 2) + "\n";
}

}  // namespace retort::layout
