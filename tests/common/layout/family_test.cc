// Every family's config.json: what it means, what it refuses, and that it is written back.
#include "common/layout/family.h"

#include <algorithm>
#include <functional>

#include "common/base/json.h"
#include "common/layout/parameter_layout.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/family_configs.h"

namespace retort::layout {
namespace {

using tiny::ConfigFolder;

absl::StatusOr<ModelConfig> Load(const std::string& json) {
  return LoadModelConfig(ConfigFolder(json));
}

TEST(FamilyTest, Families_SortedAndFoundByName) {
  const std::vector<std::string> types = ModelTypes();
  EXPECT_EQ(types.size(), 11u);
  EXPECT_TRUE(std::is_sorted(types.begin(), types.end()));
  for (const std::string& type : types) EXPECT_EQ(FindFamily(type)->model_type, type);
  EXPECT_EQ(FindFamily("mamba"), nullptr);
}

// Nothing but the type: Transformers' defaults.
TEST(FamilyTest, Load_OnlyTheType_Defaults) {
  struct Case {
    const char* type;
    std::function<bool(const ModelConfig&)> holds;
  };
  const Case cases[] = {
      {"llama", [](const auto& c) { return c.intermediate_size == 11008 && c.head_dim == 128; }},
      {"mistral",
       [](const auto& c) { return c.num_key_value_heads == 8 && c.layer(31).window == 4096; }},
      {"qwen2",
       [](const auto& c) {
         return c.attention.qkv_bias && !c.attention.o_bias && c.layer_attention.empty();
       }},
      {"qwen3",
       [](const auto& c) {
         return c.attention.qk_norm && c.head_dim == 128 && c.vocab_size > 1e5;
       }},
      {"gemma2",
       [](const auto& c) {
         return c.attention.soft_cap == 50 && c.final_soft_cap == 30 && c.head_dim == 256 &&
                c.layer(0).window == 4096 && c.layer(1).window == 0 && c.tie_word_embeddings &&
                c.embedding_scale == 48 && c.attention.query_scalar == 256 && c.norm.add_one;
       }},
      {"gemma3_text",
       [](const auto& c) {
         return c.attention.soft_cap == 0 && c.layer(4).window == 4096 && c.layer(5).window == 0 &&
                c.layer(4).rope == 1 && c.layer(5).rope == 0 && c.position.ropes[0].theta == 1e6 &&
                c.position.ropes[1].theta == 1e4;
       }},
      {"phi3", [](const auto& c) { return c.norm.eps == 1e-5 && c.layer_attention.empty(); }},
      {"gpt2",
       [](const auto& c) {
         return c.intermediate_size == 3072 && c.tie_word_embeddings && c.rotary_dim() == 0 &&
                c.norm.kind == NormKind::kLayer && !c.mlp.gated;
       }},
      {"gpt_neox",
       [](const auto& c) {
         return c.residual == Residual::kParallel && c.rotary_dim() == 24 && c.head_dim == 96 &&
                c.attention.qkv_bias && !c.tie_word_embeddings;
       }},
      {"gptj",
       [](const auto& c) {
         return c.residual == Residual::kParallelOne && c.rotary_dim() == 64 && c.head_bias &&
                c.position.interleaved && c.intermediate_size == 16384;
       }},
      {"opt",
       [](const auto& c) {
         return c.residual == Residual::kPreNorm && c.final_norm && c.tie_word_embeddings &&
                c.position.learned_offset == 2 && c.mlp.activation == Activation::kRelu;
       }},
  };
  for (const Case& c : cases) {
    const auto config = Load(absl::StrCat("{\"model_type\": \"", c.type, "\"}"));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(c.holds(*config)) << c.type;
  }
}

// The config with `changes` merged in.
std::string Changed(const tiny::FamilyConfig& family, const std::string& changes) {
  Json json = Json::parse(family.json);
  const Json changed = Json::parse(changes);
  for (const auto& [key, value] : changed.items()) json[key] = value;
  return DumpJson(json);
}

const tiny::FamilyConfig& Named(const std::string& name) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    if (name == family.name) return family;
  }
  ADD_FAILURE() << name;
  return tiny::kFamilyConfigs[0];
}

TEST(FamilyTest, Load_KeyOfAFamily_ChangesTheMathematics) {
  struct Case {
    const char* family;
    const char* changes;
    std::function<bool(const ModelConfig&)> holds;
  };
  const Case cases[] = {
      {"mistral", R"({"sliding_window": null})",
       [](const auto& c) { return c.layer_attention.empty(); }},
      {"qwen2", R"({"use_sliding_window": false})",
       [](const auto& c) { return c.layer_attention.empty(); }},
      {"qwen2", "{}",
       [](const auto& c) { return c.layer(0).window == 0 && c.layer(1).window == 4; }},
      {"qwen2", R"({"layer_types": ["sliding_attention", "full_attention", "full_attention"]})",
       [](const auto& c) { return c.layer(0).window == 4 && c.layer(1).window == 0; }},
      {"gemma2", R"({"attn_logit_softcapping": null, "final_logit_softcapping": null})",
       [](const auto& c) { return c.attention.soft_cap == 0 && c.final_soft_cap == 0; }},
      {"gemma3", R"({"layer_types": null, "sliding_window_pattern": 2})",
       [](const auto& c) {
         return c.layer(0).window == 4 && c.layer(1).window == 0 && c.layer(2).window == 4;
       }},
      {"gemma3", R"({"rope_parameters": null, "rope_theta": 5000, "rope_local_base_freq": 70,
                     "rope_scaling": {"rope_type": "linear", "factor": 4}})",
       [](const auto& c) {
         return c.position.ropes[0].theta == 5000 && c.position.ropes[0].factor == 4 &&
                c.position.ropes[1].theta == 70 && c.position.ropes[1].factor == 1;
       }},
      {"gemma3", R"({"rope_theta": 5000, "rope_local_base_freq": 70, "rope_parameters":
                     {"full_attention": {"rope_type": "linear", "factor": 4},
                      "sliding_attention": {"rope_type": "default"}}})",
       [](const auto& c) {
         return c.position.ropes[0].theta == 5000 && c.position.ropes[0].factor == 4 &&
                c.position.ropes[1].theta == 70;
       }},
      {"gemma3", R"({"rope_parameters": {"sliding_attention": {"rope_theta": 70,
                     "rope_type": "linear", "factor": 2}}})",
       [](const auto& c) {
         return c.position.ropes[0].theta == 1e6 && c.position.ropes[1].theta == 70 &&
                c.position.ropes[1].factor == 2;
       }},
      {"gemma3", R"({"rope_parameters": {"full_attention": {"rope_type": "llama3", "factor": 8,
                     "low_freq_factor": 1, "high_freq_factor": 4}}})",
       [](const auto& c) { return c.position.ropes[0].original_max_position_embeddings == 64; }},
      {"llama3", R"({"original_max_position_embeddings": 32, "rope_scaling": {"rope_type": "llama3",
                     "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}})",
       [](const auto& c) { return c.position.ropes[0].original_max_position_embeddings == 32; }},
      {"llama3", R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                     "high_freq_factor": 4}})",
       [](const auto& c) { return c.position.ropes[0].original_max_position_embeddings == 64; }},
      {"mistral", R"({"rope_scaling": {}, "rope_parameters": {"rope_type": "linear", "factor": 2,
                      "rope_theta": 300}})",
       [](const auto& c) {
         return c.position.ropes[0].factor == 2 && c.position.ropes[0].theta == 300;
       }},
      {"gpt2", R"({"n_embd": null, "n_head": null, "n_layer": null, "n_positions": null,
                   "hidden_size": 60, "num_attention_heads": 3, "num_hidden_layers": 1,
                   "max_position_embeddings": 8})",
       [](const auto& c) {
         return c.hidden_size == 60 && c.head_dim == 20 && c.num_hidden_layers == 1 &&
                c.max_position_embeddings == 8 && c.intermediate_size == 240;
       }},
      {"gptj", R"({"n_head": null, "num_attention_heads": 4, "hidden_size": 48})",
       [](const auto& c) { return c.head_dim == 12; }},
      {"phi3", R"({"partial_rotary_factor": 0.9})",  // 14.4 of 16: rounded down.
       [](const auto& c) { return c.rotary_dim() == 14; }},
      {"gpt2", R"({"n_inner": 50})", [](const auto& c) { return c.intermediate_size == 50; }},
      {"gpt_neox", R"({"attention_bias": false, "use_parallel_residual": false})",
       [](const auto& c) { return !c.attention.qkv_bias && c.residual == Residual::kPreNorm; }},
      // As Transformers 5 saves again what Transformers 4 wrote.
      {"gpt_neox", R"({"rotary_pct": null, "rotary_emb_base": null, "rope_theta": 40,
                       "partial_rotary_factor": 0.5, "rope_parameters": {"rope_theta": 40,
                       "rope_type": "default", "partial_rotary_factor": 0.5}})",
       [](const auto& c) { return c.position.ropes[0].theta == 40 && c.rotary_dim() == 8; }},
      {"opt", R"({"_remove_final_layer_norm": true})",
       [](const auto& c) { return !c.final_norm && c.residual == Residual::kPreNorm; }},
      {"opt with projections", "{}",
       [](const auto& c) {
         return c.embedding_size() == 20 && c.residual == Residual::kPostNorm && !c.final_norm;
       }},
      {"llama reward model", "{}",
       [](const auto& c) { return c.task == Task::kSequenceClassification; }},
  };
  for (const Case& c : cases) {
    const auto config = Load(Changed(Named(c.family), c.changes));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(c.holds(*config)) << c.family << " " << c.changes;
  }
}

TEST(FamilyTest, Load_WhatIsNotBuilt_RefusedByFileAndKey) {
  const std::pair<const char*, std::pair<const char*, const char*>> cases[] = {
      {"llama3", {R"({"quantization_config": {"bits": 4}})", "quantization_config"}},
      {"llama3", {R"({"architectures": ["LlamaForTokenClassification"]})", "architectures"}},
      {"llama reward model", {R"({"id2label": {"0": "a", "1": "b"}})", "2 labels"}},
      {"llama reward model", {R"({"id2label": null})", "2 labels"}},
      {"llama3", {R"({"hidden_act": "gelu"})", "hidden_act"}},
      {"mistral", {R"({"rope_scaling": {"type": "dynamic", "factor": 2}})", "dynamic"}},
      {"phi3", {R"({"rope_scaling": {"type": "longrope", "long_factor": [1]}})", "longrope"}},
      {"gemma2", {R"({"hidden_activation": "relu"})", "hidden_activation"}},
      {"gemma3", {R"({"use_bidirectional_attention": true})", "use_bidirectional_attention"}},
      {"gemma3", {R"({"attn_logit_softcapping": 50})", "attn_logit_softcapping"}},
      {"gpt2", {R"({"scale_attn_by_inverse_layer_idx": true})", "scale_attn_by_inverse_layer_idx"}},
      {"gpt2", {R"({"scale_attn_weights": false})", "scale_attn_weights"}},
      {"gpt2", {R"({"add_cross_attention": true})", "add_cross_attention"}},
      {"gpt_neox", {R"({"hidden_act": "gelu_fast"})", "hidden_act"}},
      {"llama3", {R"({"is_causal": false})", "is_causal"}},
      {"llama3", {R"({"per_layer_config": {"0": {"hidden_act": "gelu"}}})", "per_layer_config"}},
      {"mistral", {R"({"transformers_weights": "other.safetensors"})", "transformers_weights"}},
      {"mistral",
       {R"({"rope_parameters": {"full_attention": {"rope_theta": 70}}})", "full_attention"}},
      {"phi3", {R"({"rope_scaling": {"type": "linear", "factor": 2}})", "rope_scaling"}},
      {"opt", {R"({"activation_function": "gelu"})", "activation_function"}},
      {"opt", {R"({"layer_norm_elementwise_affine": false})", "layer_norm_elementwise_affine"}},
  };
  for (const auto& [family, change] : cases) {
    const absl::Status status = Load(Changed(Named(family), change.first)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << family << change.first;
    for (const char* part : {change.second, "/config.json: "}) {
      EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
    }
  }
}

TEST(FamilyTest, Load_OutOfBounds_RefusedByFileAndKey) {
  const std::pair<const char*, std::pair<const char*, const char*>> cases[] = {
      {"gpt2", {R"({"n_head": 5})", "n_head"}},
      {"gpt2", {R"({"n_embd": "32"})", "n_embd"}},
      {"gptj", {R"({"rotary_dim": 18})", "rotary_dim"}},
      {"gptj", {R"({"rotary_dim": 7})", "rotary_dim"}},
      {"gptj", {R"({"rotary_dim": null})", "rotary_dim"}},
      {"gpt_neox", {R"({"rotary_pct": 0.01})", "rotary_pct"}},
      {"gpt_neox", {R"({"rotary_pct": 1.5})", "rotary_pct"}},
      {"phi3", {R"({"partial_rotary_factor": 0.2})", "partial_rotary_factor"}},
      {"phi3", {R"({"sliding_window": 0})", "sliding_window"}},
      {"mistral", {R"({"sliding_window": -4})", "sliding_window"}},
      {"mistral", {R"({"head_dim": 7})", "head_dim"}},
      {"qwen2", {R"({"layer_types": ["full_attention"]})", "layer_types"}},
      {"qwen2", {R"({"layer_types": ["a", "b", "c"]})", "layer_types"}},
      {"qwen3", {R"({"layer_types": ["sliding_attention", "full_attention"]})", "sliding_window"}},
      {"gemma2", {R"({"attn_logit_softcapping": 0})", "attn_logit_softcapping"}},
      {"gemma2", {R"({"query_pre_attn_scalar": -1})", "query_pre_attn_scalar"}},
      {"gemma3", {R"({"sliding_window_pattern": 0})", "sliding_window_pattern"}},
      {"gemma3",
       {R"({"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}}})",
        "partial_rotary_factor"}},
      {"gemma2", {R"({"sliding_window": null})", "sliding_window is null"}},
      {"gemma3", {R"({"sliding_window": null})", "sliding_window is null"}},
      {"gemma3",
       {R"({"layer_types": null, "_sliding_window_pattern": 2})",
        "_sliding_window_pattern is 2; expected 6"}},
      {"gemma3",
       {R"({"rope_parameters": {"rope_type": "linear", "factor": 8}})",
        "expected full_attention and sliding_attention"}},
      {"gemma3", {R"({"rope_scaling": {"rope_type": "linear", "factor": 4}})", "disagree"}},
      {"gemma3", {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor"}},
      {"gemma3", {R"({"rope_parameters": {"full\nattention": {}}})", "full\\nattention is {}"}},
      {"llama3", {R"({"rope_parameters": {"rope_type": "linear", "factor": 8}})", "disagree"}},
      {"llama3",
       {R"({"rope_parameters": {"rope_theta": 900.0, "rope_type": "llama3",
                      "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 32}})",
        "disagree"}},
      {"llama3",
       {R"({"original_max_position_embeddings": 16})",
        "original_max_position_embeddings is 32; expected 16"}},
      {"llama3", {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor"}},
      {"qwen2", {R"({"head_dim": 8})", "head_dim is 8; expected 6"}},
      {"gpt_neox", {R"({"rope_theta": 500})", "rope_theta is 500; expected 10000"}},
      {"gpt_neox", {R"({"partial_rotary_factor": 0.5})", "expected 0.25, as rotary_pct"}},
      {"gpt2", {R"({"hidden_size": 64})", "hidden_size is 64; expected what n_embd says, 32"}},
      {"gpt2", {R"({"n_head": null, "num_attention_heads": 5})", "num_attention_heads is 5"}},
      {"gptj", {R"({"max_position_embeddings": 65})", "n_positions says, 64"}},
      {"opt with projections",
       {R"({"vocab_size": 16777216, "word_embed_proj_dim": 1048576})", "parameters"}},
      {"opt", {R"({"word_embed_proj_dim": 0})", "word_embed_proj_dim"}},
      {"opt", {R"({"enable_bias": 1})", "enable_bias"}},
  };
  for (const auto& [family, change] : cases) {
    const absl::Status status = Load(Changed(Named(family), change.first)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << family << change.first;
    for (const char* part : {change.second, "/config.json: "}) {
      EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
    }
  }
}

TEST(FamilyTest, LoadCausal_SequenceClassification_Refused) {
  EXPECT_TRUE(LoadCausalConfig(ConfigFolder(Named("gpt2").json)).ok());
  const absl::Status status =
      LoadCausalConfig(ConfigFolder(Named("llama reward model").json)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("/config.json: architectures"), absl::string_view::npos);
}

TEST(FamilyTest, Json_EveryFamily_ReadBackEqual) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const ModelConfig config = tiny::ConfigOf(family);
    const auto again = Load(ModelConfigJson(config));
    ASSERT_TRUE(again.ok()) << family.name << ": " << again.status();
    EXPECT_TRUE(*again == config) << family.name;
  }
}

// Transformers 5 checks types: an int must not be spelt 24.0.
TEST(FamilyTest, Json_QueryScalarOfGemma_WholeNumberAsAnInteger) {
  for (const char* family : {"gemma2", "gemma3"}) {
    const Json whole = Json::parse(
        ModelConfigJson(*Load(Changed(Named(family), R"({"query_pre_attn_scalar": 24.0})"))));
    EXPECT_EQ(DumpJson(whole["query_pre_attn_scalar"]), "24") << family;
    const Json half = Json::parse(
        ModelConfigJson(*Load(Changed(Named(family), R"({"query_pre_attn_scalar": 24.5})"))));
    EXPECT_EQ(DumpJson(half["query_pre_attn_scalar"]), "24.5") << family;
  }
}

// A library of one style drops the other's keys: each alone must say the same.
TEST(FamilyTest, Json_EitherStyleAlone_ReadBackEqual) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const ModelConfig config = tiny::ConfigOf(family);
    const std::vector<std::vector<const char*>> styles = {
        {"rope_parameters"},
        {"rope_theta", "rope_scaling", "rope_local_base_freq", "rotary_pct", "rotary_emb_base",
         "partial_rotary_factor"}};
    for (const std::vector<const char*>& dropped : styles) {
      Json json = Json::parse(ModelConfigJson(config));
      for (const char* key : dropped) json.erase(key);
      const auto again = Load(DumpJson(json));
      ASSERT_TRUE(again.ok()) << family.name << ": " << again.status();
      EXPECT_TRUE(*again == config) << family.name << " without " << dropped[0];
    }
  }
}

TEST(FamilyTest, UnknownConfigKeys_WhatNobodyReads_InTheFilesOrder) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const auto none = UnknownConfigKeys(ConfigFolder(family.json));
    ASSERT_TRUE(none.ok()) << none.status();
    EXPECT_TRUE(none->empty()) << family.name << ": " << none->front();
    const auto two = UnknownConfigKeys(
        ConfigFolder(Changed(family, R"({"zeta": 1, "attention_dropout": 0.1, "alpha": null})")));
    ASSERT_TRUE(two.ok()) << two.status();
    EXPECT_EQ(*two, (std::vector<std::string>{"zeta", "alpha"})) << family.name;
  }
  EXPECT_FALSE(UnknownConfigKeys(ConfigFolder("{}")).ok());
}

TEST(FamilyTest, Json_OneStyleOnly_EqualConfigAndNoKeyOfTheOther) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const ModelConfig config = tiny::ConfigOf(family);
    const std::string v4 = ModelConfigJson(config, ConfigStyle::kTransformers4);
    const auto from_v4 = Load(v4);
    ASSERT_TRUE(from_v4.ok()) << family.name << ": " << from_v4.status();
    EXPECT_TRUE(*from_v4 == config) << family.name;
    EXPECT_EQ(v4.find("rope_parameters"), std::string::npos) << family.name;
    EXPECT_EQ(v4.find("\"dtype\""), std::string::npos) << family.name;
    const std::string v5 = ModelConfigJson(config, ConfigStyle::kTransformers5);
    const auto from_v5 = Load(v5);
    ASSERT_TRUE(from_v5.ok()) << family.name << ": " << from_v5.status();
    EXPECT_TRUE(*from_v5 == config) << family.name;
    const Json json = Json::parse(v5);
    for (const char* key : {"torch_dtype", "rope_theta", "rope_scaling", "rotary_pct",
                            "rotary_emb_base", "rope_local_base_freq", "partial_rotary_factor"}) {
      EXPECT_FALSE(json.contains(key)) << family.name << " " << key;
    }
  }
}

}  // namespace
}  // namespace retort::layout
