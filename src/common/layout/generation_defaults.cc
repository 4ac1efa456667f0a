#include "common/layout/generation_defaults.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/layout/config_keys.h"
#include "nlohmann/json.hpp"

namespace retort::layout {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr int64_t kMaxTokens = kMaxPositions;

// A number in [min, max]; `fallback` if it is missing.
absl::StatusOr<double> Number(const ConfigKeys& keys, const std::string& key, double fallback,
                              double min, double max) {
  const Json* value = keys.Find(key);
  if (value == nullptr) return fallback;
  if (value->is_number() && value->get<double>() >= min && value->get<double>() <= max) {
    return value->get<double>();
  }
  return keys.Wrong(key, absl::StrCat("a number in [", min, ", ", max, "]"));
}

}  // namespace

absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(const std::string& folder) {
  GenerationDefaults defaults;
  const std::string path = folder + "/generation_config.json";
  if (!FileExists(path)) return defaults;
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  RETORT_ASSIGN_OR_RETURN(const Json json, ParseJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a JSON object"));
  }
  const ConfigKeys keys(json, path);
  RETORT_ASSIGN_OR_RETURN(const bool sample, keys.Bool("do_sample", true));
  RETORT_ASSIGN_OR_RETURN(defaults.temperature, Number(keys, "temperature", 1, 0, 1e6));
  if (!sample) defaults.temperature = 0;
  RETORT_ASSIGN_OR_RETURN(defaults.top_k, keys.Int("top_k", 0, 0, kMaxTokens));
  RETORT_ASSIGN_OR_RETURN(defaults.top_p, Number(keys, "top_p", 1, 1e-9, 1));
  RETORT_ASSIGN_OR_RETURN(defaults.min_p, Number(keys, "min_p", 0, 0, 1));
  RETORT_ASSIGN_OR_RETURN(defaults.repetition_penalty,
                          Number(keys, "repetition_penalty", 1, 1e-6, 1e6));
  RETORT_ASSIGN_OR_RETURN(defaults.min_new_tokens, keys.Int("min_new_tokens", 0, 0, kMaxTokens));
  if (keys.Find("max_new_tokens") != nullptr) {
    RETORT_ASSIGN_OR_RETURN(defaults.max_new_tokens, keys.Int("max_new_tokens", 1, 1, kMaxTokens));
  }
  return defaults;
}

}  // namespace retort::layout
