#include "common/layout/model_config.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"

namespace retort::layout {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxWidth = 1 << 20;  // hidden, intermediate, heads x head_dim
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxPositions = 1 << 24;
constexpr int64_t kMaxElements = int64_t{1} << 42;
constexpr int kMaxEosTokens = 1024;

// Reads keys of one JSON object; every error names the file and the key.
class Keys {
 public:
  Keys(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // The value, or null if it is missing or null.
  const Json* Find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  absl::Status Wrong(const char* key, absl::string_view expected) const {
    const Json* value = Find(key);
    std::string got = value == nullptr ? "missing" : value->dump(-1, ' ', true);
    if (got.size() > 80) got = got.substr(0, 77) + "...";
    return absl::InvalidArgumentError(
        absl::StrCat(where_, ": ", key, " is ", got, "; expected ", expected));
  }

  absl::StatusOr<int64_t> Int(const char* key, std::optional<int64_t> fallback, int64_t min,
                              int64_t max) const {
    const Json* value = Find(key);
    if (value == nullptr && fallback.has_value()) return *fallback;
    if (value == nullptr || !value->is_number_integer() ||
        (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX}) ||
        value->get<int64_t>() < min || value->get<int64_t>() > max) {
      return Wrong(key, absl::StrCat("an integer in [", min, ", ", max, "]"));
    }
    return value->get<int64_t>();
  }

  absl::StatusOr<double> Positive(const char* key, std::optional<double> fallback) const {
    const Json* value = Find(key);
    if (value == nullptr && fallback.has_value()) return *fallback;
    if (value == nullptr || !value->is_number() || !(value->get<double>() > 0) ||
        !(value->get<double>() <= 1e12)) {
      return Wrong(key, "a number above 0, at most 1e12");
    }
    return value->get<double>();
  }

  absl::StatusOr<bool> Bool(const char* key, bool fallback) const {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) return Wrong(key, "true or false");
    return value->get<bool>();
  }

  absl::StatusOr<std::string> String(const char* key, std::optional<std::string> fallback) const {
    const Json* value = Find(key);
    if (value == nullptr && fallback.has_value()) return *fallback;
    if (value == nullptr || !value->is_string()) return Wrong(key, "a string");
    return value->get<std::string>();
  }

  absl::StatusOr<std::optional<Keys>> Object(const char* key) const {
    const Json* value = Find(key);
    if (value == nullptr) return std::optional<Keys>();
    if (!value->is_object()) return Wrong(key, "an object");
    return std::optional<Keys>(Keys(*value, absl::StrCat(where_, ": ", key)));
  }

  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  std::string where_;
};

absl::StatusOr<Json> ReadObject(const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  RETORT_ASSIGN_OR_RETURN(Json json, ParseJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a JSON object"));
  }
  return json;
}

absl::Status ReadSizes(const Keys& keys, ModelConfig* c) {
  RETORT_ASSIGN_OR_RETURN(c->vocab_size, keys.Int("vocab_size", 32000, 1, kMaxVocabulary));
  RETORT_ASSIGN_OR_RETURN(c->hidden_size, keys.Int("hidden_size", 4096, 1, kMaxWidth));
  RETORT_ASSIGN_OR_RETURN(c->intermediate_size, keys.Int("intermediate_size", 11008, 1, kMaxWidth));
  RETORT_ASSIGN_OR_RETURN(c->num_hidden_layers, keys.Int("num_hidden_layers", 32, 1, kMaxLayers));
  RETORT_ASSIGN_OR_RETURN(c->num_attention_heads,
                          keys.Int("num_attention_heads", 32, 1, kMaxWidth));
  RETORT_ASSIGN_OR_RETURN(
      c->num_key_value_heads,
      keys.Int("num_key_value_heads", c->num_attention_heads, 1, c->num_attention_heads));
  if (c->num_attention_heads % c->num_key_value_heads != 0) {
    return keys.Wrong("num_key_value_heads",
                      absl::StrCat("a divisor of num_attention_heads ", c->num_attention_heads));
  }
  RETORT_ASSIGN_OR_RETURN(
      c->head_dim, keys.Int("head_dim", c->hidden_size / c->num_attention_heads, 2, 1 << 14));
  if (c->head_dim < 2 || c->head_dim % 2 != 0) {
    return keys.Wrong("head_dim", "an even number (or hidden_size / num_attention_heads even)");
  }
  if (c->num_attention_heads * c->head_dim > kMaxWidth) {
    return keys.Wrong("num_attention_heads",
                      absl::StrCat("num_attention_heads x head_dim of at most ", kMaxWidth));
  }
  RETORT_ASSIGN_OR_RETURN(c->max_position_embeddings,
                          keys.Int("max_position_embeddings", 2048, 1, kMaxPositions));
  const int64_t width = c->hidden_size + c->num_attention_heads * c->head_dim;
  if (c->vocab_size > kMaxElements / 2 / c->hidden_size ||
      c->num_hidden_layers > kMaxElements / 4 / (width + c->intermediate_size) / c->hidden_size) {
    return absl::InvalidArgumentError(absl::StrCat(keys.where(), ": more than ", kMaxElements,
                                                   " parameters; expected a smaller model"));
  }
  return absl::OkStatus();
}

absl::Status ReadLlama3(const Keys& keys, RopeConfig* rope) {
  RETORT_ASSIGN_OR_RETURN(rope->factor, keys.Positive("factor", std::nullopt));
  RETORT_ASSIGN_OR_RETURN(rope->low_freq_factor, keys.Positive("low_freq_factor", std::nullopt));
  RETORT_ASSIGN_OR_RETURN(rope->high_freq_factor, keys.Positive("high_freq_factor", std::nullopt));
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    return keys.Wrong("high_freq_factor", "a number above low_freq_factor");
  }
  RETORT_ASSIGN_OR_RETURN(
      rope->original_max_position_embeddings,
      keys.Int("original_max_position_embeddings", std::nullopt, 1, kMaxPositions));
  return absl::OkStatus();
}

// Transformers 4: rope_theta and rope_scaling beside each other. Transformers 5: both in
// rope_parameters.
absl::Status ReadRope(const Keys& keys, RopeConfig* rope) {
  RETORT_ASSIGN_OR_RETURN(rope->theta, keys.Positive("rope_theta", 10000.0));
  RETORT_ASSIGN_OR_RETURN(const std::optional<Keys> v5, keys.Object("rope_parameters"));
  RETORT_ASSIGN_OR_RETURN(const std::optional<Keys> v4, keys.Object("rope_scaling"));
  if (!v5.has_value() && !v4.has_value()) return absl::OkStatus();
  const Keys& scaling = v5.has_value() ? *v5 : *v4;
  RETORT_ASSIGN_OR_RETURN(rope->theta, scaling.Positive("rope_theta", rope->theta));
  RETORT_ASSIGN_OR_RETURN(const double partial, scaling.Positive("partial_rotary_factor", 1.0));
  if (partial != 1.0) return scaling.Wrong("partial_rotary_factor", "1 for model_type llama");
  RETORT_ASSIGN_OR_RETURN(const std::string old_name, scaling.String("type", "default"));
  RETORT_ASSIGN_OR_RETURN(const std::string type, scaling.String("rope_type", old_name));
  if (type == "default") return absl::OkStatus();
  if (type == "linear") {
    rope->type = RopeType::kLinear;
    RETORT_ASSIGN_OR_RETURN(rope->factor, scaling.Positive("factor", std::nullopt));
    return absl::OkStatus();
  }
  if (type == "llama3") {
    rope->type = RopeType::kLlama3;
    return ReadLlama3(scaling, rope);
  }
  return absl::UnimplementedError(absl::StrCat(scaling.where(), ": rope type \"", Printable(type),
                                               "\"; expected default, linear or llama3"));
}

// A missing key, null, one id, or (eos) a list of ids.
absl::Status ReadTokenIds(const Keys& keys, const char* key, int64_t vocab_size,
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

absl::StatusOr<std::optional<int64_t>> ReadTokenId(const Keys& keys, const char* key,
                                                   int64_t vocab_size) {
  std::vector<int64_t> ids;
  RETORT_RETURN_IF_ERROR(ReadTokenIds(keys, key, vocab_size, &ids));
  return ids.empty() ? std::optional<int64_t>() : std::optional<int64_t>(ids[0]);
}

absl::Status CheckFamily(const Keys& keys, const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::string type, keys.String("model_type", std::nullopt));
  if (type != "llama") {
    return absl::UnimplementedError(
        absl::StrCat(path, ": model_type \"", Printable(type), "\" is not built; expected llama"));
  }
  RETORT_ASSIGN_OR_RETURN(const std::string activation, keys.String("hidden_act", "silu"));
  if (activation != "silu") {
    return absl::UnimplementedError(absl::StrCat(path, ": hidden_act \"", Printable(activation),
                                                 "\" is not built; expected silu"));
  }
  if (keys.Find("quantization_config") != nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": quantized weights are not built; use the fp32 or bf16 model"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadModelType(const std::string& folder) {
  const std::string path = folder + "/config.json";
  RETORT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  return Keys(json, path).String("model_type", std::nullopt);
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  RETORT_ASSIGN_OR_RETURN(const Json json, ReadObject(path));
  const Keys keys(json, path);
  RETORT_RETURN_IF_ERROR(CheckFamily(keys, path));
  ModelConfig c;
  RETORT_RETURN_IF_ERROR(ReadSizes(keys, &c));
  RETORT_ASSIGN_OR_RETURN(c.rms_norm_eps, keys.Positive("rms_norm_eps", 1e-6));
  RETORT_ASSIGN_OR_RETURN(c.attention_bias, keys.Bool("attention_bias", false));
  RETORT_ASSIGN_OR_RETURN(c.mlp_bias, keys.Bool("mlp_bias", false));
  RETORT_ASSIGN_OR_RETURN(c.tie_word_embeddings, keys.Bool("tie_word_embeddings", false));
  RETORT_RETURN_IF_ERROR(ReadRope(keys, &c.rope));
  RETORT_ASSIGN_OR_RETURN(c.bos_token_id, ReadTokenId(keys, "bos_token_id", c.vocab_size));
  RETORT_ASSIGN_OR_RETURN(c.pad_token_id, ReadTokenId(keys, "pad_token_id", c.vocab_size));
  RETORT_RETURN_IF_ERROR(ReadTokenIds(keys, "eos_token_id", c.vocab_size, &c.eos_token_ids));
  const std::string generation = folder + "/generation_config.json";
  if (FileExists(generation)) {
    RETORT_ASSIGN_OR_RETURN(const Json generation_json, ReadObject(generation));
    RETORT_RETURN_IF_ERROR(ReadTokenIds(Keys(generation_json, generation), "eos_token_id",
                                        c.vocab_size, &c.eos_token_ids));
  }
  return c;
}

}  // namespace retort::layout
