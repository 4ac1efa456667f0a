#include "common/layout/adapter_config.h"

#include <cmath>

#include "common/base/json.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/family_configs.h"

namespace retort::layout {
namespace {

constexpr char kPlain[] = R"({"peft_type": "LORA", "r": 4, "lora_alpha": 6,
    "target_modules": ["q_proj", "self_attn.v_proj"], "bias": "none", "lora_dropout": 0.1,
    "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": null, "use_dora": false,
    "init_lora_weights": true, "task_type": "CAUSAL_LM"})";

// kPlain with `changes` merged in.
absl::StatusOr<AdapterConfig> LoadWith(const std::string& changes) {
  Json json = Json::parse(kPlain);
  const Json changed = Json::parse(changes);
  for (const auto& [key, value] : changed.items()) json[key] = value;
  const std::string folder = tiny::ConfigFolder("{}");
  EXPECT_TRUE(WriteFileDurably(folder + "/adapter_config.json", DumpJson(json)).ok());
  return LoadAdapterConfig(folder);
}

TEST(AdapterConfigTest, Load_Plain_RankScaleAndTargets) {
  const auto config = LoadWith("{}");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rank, 4);
  EXPECT_EQ(config->scale(), 1.5);
  EXPECT_TRUE(config->Targets("model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(config->Targets("model.layers.0.self_attn.v_proj"));
  EXPECT_FALSE(config->Targets("model.layers.0.cross_attn.v_proj"));
  EXPECT_FALSE(config->Targets("model.layers.0.self_attn.xq_proj"));
  EXPECT_EQ(LoadWith(R"({"use_rslora": true})")->scale(), 3.0);
  EXPECT_TRUE(LoadWith(R"({"target_modules": "all-linear"})")->all_linear);
  EXPECT_EQ(config->dropout, 0.1);
  EXPECT_EQ(LoadWith(R"({"lora_dropout": null})")->dropout, 0);
  EXPECT_FALSE(LoadWith(R"({"lora_dropout": 1.5})").ok());
  EXPECT_FALSE(LoadWith(R"({"lora_dropout": "no"})").ok());
}

TEST(AdapterConfigTest, Load_InitThatLeavesTheModelAlone_PassedOver) {
  for (const char* init : {"true", "false", "null", "\"gaussian\"", "\"Gaussian\"", "\"eva\"",
                           "\"orthogonal\"", "\"mica\""}) {
    const auto config = LoadWith(absl::StrCat("{\"init_lora_weights\": ", init, "}"));
    EXPECT_TRUE(config.ok()) << config.status();
  }
}

TEST(AdapterConfigTest, Load_OptionThatIsNotBuilt_RefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"rank_pattern": {"q_proj": 8}})", "rank_pattern"},
      {R"({"alpha_pattern": {"q_proj": 8}})", "alpha_pattern"},
      {R"({"use_dora": true})", "use_dora"},
      {R"({"modules_to_save": ["lm_head"]})", "modules_to_save"},
      {R"({"bias": "all"})", "bias"},
      {R"({"lora_bias": true})", "lora_bias"},
      {R"({"layers_to_transform": 3})", "layers_to_transform"},
      {R"({"layers_to_transform": [0]})", "layers_to_transform"},
      {R"({"exclude_modules": "k_proj"})", "exclude_modules"},
      {R"({"target_parameters": ["experts"]})", "target_parameters"},
      {R"({"trainable_token_indices": [1]})", "trainable_token_indices"},
      {R"({"target_modules": ".*q_proj"})", "target_modules"},
      {R"({"peft_type": "IA3"})", "peft_type"},
      {R"({"init_lora_weights": "pissa"})", "init_lora_weights \"pissa\""},
      {R"({"init_lora_weights": "pissa_niter_16"})", "init_lora_weights"},
      {R"({"init_lora_weights": "olora"})", "init_lora_weights"},
      {R"({"init_lora_weights": "corda"})", "init_lora_weights"},
      {R"({"init_lora_weights": "loftq"})", "init_lora_weights"},
      {R"({"init_lora_weights": "lora_ga"})", "path_initial_model_for_weight_conversion"},
      {R"({"init_lora_weights": 3})", "init_lora_weights"},
  };
  for (const auto& [changes, name] : cases) {
    const absl::Status status = LoadWith(changes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << changes;
    for (const char* part : {name, "/adapter_config.json: "}) {
      EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
    }
  }
}

TEST(AdapterConfigTest, Load_OutOfBounds_RefusedByFileAndKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"r": 0})", "r is 0"},
      {R"({"r": 1.5})", "r is 1.5"},
      {R"({"lora_alpha": "8"})", "lora_alpha"},
      {R"({"use_rslora": 1})", "use_rslora"},
      {R"({"target_modules": []})", "target_modules"},
      {R"({"target_modules": null})", "target_modules"},
      {R"({"target_modules": [3]})", "target_modules"},
      {R"({"peft_type": null})", "peft_type"},
  };
  for (const auto& [changes, name] : cases) {
    const absl::Status status = LoadWith(changes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << changes;
    for (const char* part : {name, "/adapter_config.json: "}) {
      EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
    }
  }
  EXPECT_EQ(LoadAdapterConfig(tiny::ConfigFolder("{}")).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(AdapterConfigTest, Json_WrittenAndRead_EqualConfig) {
  const ModelConfig base = tiny::ConfigOf(tiny::kFamilyConfigs[0]);
  for (const char* changes : {"{}", R"({"use_rslora": true, "lora_alpha": 2.5})",
                              R"({"target_modules": "all-linear", "r": 1})"}) {
    const AdapterConfig config = *LoadWith(changes);
    const std::string folder = tiny::ConfigFolder("{}");
    const std::string text = AdapterConfigJson(config, base);
    ASSERT_TRUE(WriteFileDurably(folder + "/adapter_config.json", text).ok());
    EXPECT_TRUE(*LoadAdapterConfig(folder) == config) << text;
  }
}

}  // namespace
}  // namespace retort::layout
