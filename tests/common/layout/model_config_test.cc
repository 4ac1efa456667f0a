#include "common/layout/model_config.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "gtest/gtest.h"

namespace retort::layout {
namespace {

using ::testing::TempDir;

constexpr char kSmall[] =
    R"("model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
       "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64)";

// A folder with config.json = {kSmall, extra} and, if given, generation_config.json.
std::string Folder(const std::string& extra, const std::string& generation = "") {
  static int count = 0;
  const std::string folder = absl::StrCat(TempDir(), "/model_config_test_", count++);
  EXPECT_TRUE(MakeDirectories(folder).ok());
  const std::string text = absl::StrCat("{", kSmall, extra.empty() ? "" : ", ", extra, "}");
  EXPECT_TRUE(WriteFileDurably(folder + "/config.json", text).ok());
  EXPECT_TRUE(RemoveRecursively(folder + "/generation_config.json").ok());
  if (!generation.empty()) {
    EXPECT_TRUE(WriteFileDurably(folder + "/generation_config.json", generation).ok());
  }
  return folder;
}

absl::StatusOr<ModelConfig> LoadWith(const std::string& extra, const std::string& generation = "") {
  return LoadModelConfig(Folder(extra, generation));
}

TEST(ModelConfigTest, Load_KeysMissing_HuggingFaceDefaults) {
  const auto config = LoadWith("");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->num_key_value_heads, 4);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->norm.eps, 1e-6);
  EXPECT_EQ(config->position.ropes[0].theta, 10000.0);
  EXPECT_EQ(config->position.ropes[0].type, RopeType::kDefault);
  EXPECT_FALSE(config->tie_word_embeddings || config->attention.qkv_bias ||
               config->attention.o_bias || config->mlp.bias);
  EXPECT_TRUE(config->eos_token_ids.empty());
}

TEST(ModelConfigTest, Load_BothRopeStyles_Equal) {
  const char kScaling[] =
      R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 32, "rope_type": "llama3")";
  const auto v4 =
      LoadWith(absl::StrCat(R"("rope_theta": 500.0, "rope_scaling": {)", kScaling, "}"));
  const auto v5 =
      LoadWith(absl::StrCat(R"("rope_parameters": {"rope_theta": 500.0, )", kScaling, "}"));
  ASSERT_TRUE(v4.ok() && v5.ok());
  EXPECT_EQ(v4->position.ropes[0], v5->position.ropes[0]);
  EXPECT_EQ(v4->position.ropes[0].type, RopeType::kLlama3);
  EXPECT_EQ(v4->position.ropes[0].theta, 500.0);
  EXPECT_EQ(v4->position.ropes[0].original_max_position_embeddings, 32);
}

TEST(ModelConfigTest, Load_OldTypeKeyAndLinear) {
  const auto config = LoadWith(R"("rope_scaling": {"type": "linear", "factor": 2.0})");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->position.ropes[0].type, RopeType::kLinear);
  EXPECT_EQ(config->position.ropes[0].factor, 2.0);
}

TEST(ModelConfigTest, Load_EosTokens_GenerationConfigWins) {
  EXPECT_EQ(LoadWith(R"("eos_token_id": 2)")->eos_token_ids, (std::vector<int64_t>{2}));
  EXPECT_EQ(LoadWith(R"("eos_token_id": [2, 3])")->eos_token_ids, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(LoadWith(R"("eos_token_id": 2)", R"({"eos_token_id": [5, 6]})")->eos_token_ids,
            (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(LoadWith(R"("eos_token_id": 2)", R"({"eos_token_id": null})")->eos_token_ids,
            (std::vector<int64_t>{2}));
}

TEST(ModelConfigTest, Load_WhatIsNotBuilt_UnimplementedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("rope_scaling": {"rope_type": "yarn", "factor": 2.0})", "yarn"},
      {R"("rope_scaling": {"rope_type": "ya\nrn", "factor": 2.0})", "\"ya\\nrn\""},
      {R"("hidden_act": "gelu")", "gelu"},
      {R"("hidden_act": "ge\nlu")", "\"ge\\nlu\""},
      {R"("quantization_config": {"bits": 4})", "quantization_config"},
  };
  for (const auto& [extra, name] : cases) {
    const absl::Status status = LoadWith(extra).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << extra;
    EXPECT_NE(status.message().find(name), absl::string_view::npos) << status.ToString();
  }
}

TEST(ModelConfigTest, Load_OtherFamily_UnimplementedAndItsType) {
  const std::string folder = Folder("");
  ASSERT_TRUE(WriteFileDurably(folder + "/config.json", R"({"model_type": "mamba"})").ok());
  const absl::Status status = LoadModelConfig(folder).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("mamba"), absl::string_view::npos);
  EXPECT_EQ(*ReadModelType(folder), "mamba");
}

TEST(ModelConfigTest, Load_FieldOutOfBounds_NamesFileAndKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("rms_norm_eps": 0)", "rms_norm_eps"},
      {R"("rms_norm_eps": "small")", "rms_norm_eps"},
      {R"("num_key_value_heads": 3)", "num_key_value_heads"},
      {R"("num_key_value_heads": 0)", "num_key_value_heads"},
      {R"("head_dim": 7)", "head_dim"},
      {R"("head_dim": 99999999)", "head_dim"},
      {R"("attention_bias": 1)", "attention_bias"},
      {R"("eos_token_id": 100)", "eos_token_id"},
      {R"("eos_token_id": -2)", "eos_token_id"},
      {R"("bos_token_id": 18446744073709551615)", "bos_token_id"},
      {R"("rope_theta": -1)", "rope_theta"},
      {R"("rope_scaling": "llama3")", "rope_scaling"},
      {R"("rope_scaling": {"rope_type": "linear"})", "factor"},
      {R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
           "high_freq_factor": 4, "original_max_position_embeddings": 32})",
       "high_freq_factor"},
      {R"("rope_parameters": {"partial_rotary_factor": 0.5})", "partial_rotary_factor"},
  };
  for (const auto& [extra, key] : cases) {
    const absl::Status status = LoadWith(extra).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << extra;
    EXPECT_NE(status.message().find(key), absl::string_view::npos) << status.ToString();
    EXPECT_NE(status.message().find("config.json"), absl::string_view::npos) << status.ToString();
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status.ToString();
  }
}

// Written out, it could not be read back.
TEST(ModelConfigTest, Load_HeadsThatFollowTooWide_NamesThem) {
  const std::string folder = Folder("");
  const std::string wide = absl::StrReplaceAll(
      absl::StrCat("{", kSmall, "}"), {{"\"hidden_size\": 32", "\"hidden_size\": 131072"}});
  ASSERT_TRUE(WriteFileDurably(folder + "/config.json", wide).ok());
  const absl::Status status = LoadModelConfig(folder).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("num_attention_heads"), absl::string_view::npos)
      << status.ToString();
}

TEST(ModelConfigTest, Load_BrokenFiles_OneLineNamingTheFile) {
  for (const char* text : {"", "{", "[]", "{\"model_type\": 3}",
                           "{\"model_type\": \"llama\", \"model_type\": \"llama\"}", "\xff"}) {
    const std::string folder = Folder("");
    ASSERT_TRUE(WriteFileDurably(folder + "/config.json", text).ok());
    const absl::Status status = LoadModelConfig(folder).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(status.message().find("config.json"), absl::string_view::npos) << status.ToString();
  }
  EXPECT_EQ(LoadModelConfig("/no/such").status().code(), absl::StatusCode::kNotFound);
}

TEST(ModelConfigTest, Json_WrittenAndRead_EqualConfig) {
  const char* cases[] = {
      "", R"("eos_token_id": [3, 4], "bos_token_id": 1, "pad_token_id": 0)",
      R"("attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true, "head_dim": 16)",
      R"("rope_scaling": {"rope_type": "linear", "factor": 2.5}, "rope_theta": 777.0)",
      R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
          "high_freq_factor": 4, "original_max_position_embeddings": 32})"};
  for (const char* extra : cases) {
    const auto config = LoadWith(extra);
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    const std::string folder = Folder("");
    ASSERT_TRUE(WriteFileDurably(folder + "/config.json", ModelConfigJson(*config)).ok());
    ASSERT_TRUE(
        WriteFileDurably(folder + "/generation_config.json", GenerationConfigJson(*config)).ok());
    const auto again = LoadModelConfig(folder);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_TRUE(*again == *config) << extra;
  }
}

TEST(ModelConfigTest, Json_DtypeIsTheCallers) {
  const auto config = LoadWith("");
  ASSERT_TRUE(config.ok()) << config.status();
  const std::string text = ModelConfigJson(*config, ConfigStyle::kBoth, "bfloat16");
  EXPECT_NE(text.find(R"("torch_dtype": "bfloat16")"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("dtype": "bfloat16")"), std::string::npos) << text;
}

}  // namespace
}  // namespace retort::layout
