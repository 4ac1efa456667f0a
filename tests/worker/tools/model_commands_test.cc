#include "worker/tools/model_commands.h"

#include <filesystem>
#include <functional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/layout/weight_files.h"
#include "common/tensor/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/digit_model.h"
#include "worker/tools/score_command.h"

namespace retort::worker {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ModelCommandsTest : public ::testing::Test {
 protected:
  ModelCommandsTest() {
    EXPECT_TRUE(RemoveRecursively(output_).ok());
    EXPECT_TRUE(WriteFileDurably(model_ + "/generation_config.json",
                                 R"({"eos_token_id": [10, 9], "top_k": 4})")
                    .ok());
    EXPECT_TRUE(WriteFileDurably(model_ + "/chat_template.jinja", "{{ messages }}").ok());
    EXPECT_TRUE(WriteFileDurably(model_ + "/optimizer.bin", "no part of a model").ok());
  }
  ~ModelCommandsTest() override {
    EXPECT_TRUE(RemoveRecursively(model_).ok());
    EXPECT_TRUE(RemoveRecursively(output_).ok());
  }

  OutputOptions Output(const std::string& folder) const {
    OutputOptions output;
    output.folder = folder;
    return output;
  }
  OutputOptions Output() const { return Output(output_); }

  // The line it says, or what is wrong.
  std::string Convert(const OutputOptions& output) const {
    std::ostringstream out, progress;
    const absl::Status status = ConvertCommand({model_, output}, out, progress);
    EXPECT_EQ(progress.str(), "");
    return status.ok() ? out.str() : std::string(status.message());
  }

  std::string Merge(const std::string& adapter, const OutputOptions& output) const {
    std::ostringstream out, progress;
    const absl::Status status = MergeCommand({model_, adapter, output}, out, progress);
    return status.ok() ? out.str() : std::string(status.message());
  }

  static at::Tensor Weights(const std::string& folder) {
    const auto config = layout::LoadModelConfig(folder);
    EXPECT_TRUE(config.ok()) << config.status();
    const auto arena = tensor::ReadModelArena(folder, layout::LayoutFor(*config, false));
    EXPECT_TRUE(arena.ok()) << arena.status();
    return arena->flat();
  }

  Json Config() const {
    return *ParseJson(*ReadFile(output_ + "/config.json", 1 << 20), "config.json");
  }

  const std::string model_ = WriteDigitModel("model_commands_test", 32);
  const std::string output_ = model_ + ".output";
};

TEST_F(ModelCommandsTest, Convert_AsItIs_SameBitsConfigAndFiles) {
  EXPECT_THAT(Convert(Output()), HasSubstr("float32"));
  EXPECT_THAT(*ListDirectory(output_),
              ElementsAre("chat_template.jinja", "config.json", "generation_config.json",
                          "model.safetensors", "tokenizer.json"));
  EXPECT_TRUE(at::equal(Weights(output_), Weights(model_)));
  EXPECT_EQ(*layout::LoadModelConfig(output_), *layout::LoadModelConfig(model_));
  EXPECT_EQ(*ReadFile(output_ + "/generation_config.json", 1 << 20),
            *ReadFile(model_ + "/generation_config.json", 1 << 20));
}

TEST_F(ModelCommandsTest, Convert_Dtypes_RoundedOnce_AndKept) {
  for (const char* dtype : {"bfloat16", "float16"}) {
    ASSERT_TRUE(RemoveRecursively(output_).ok());
    OutputOptions output = Output();
    output.dtype = dtype;
    EXPECT_THAT(Convert(output), HasSubstr(dtype));
    const at::ScalarType type = dtype == std::string("float16") ? at::kHalf : at::kBFloat16;
    EXPECT_TRUE(at::equal(Weights(output_), Weights(model_).to(type).to(at::kFloat))) << dtype;
    EXPECT_EQ(Config()["torch_dtype"], dtype);
    EXPECT_EQ(Config()["dtype"], dtype);
    // Without a dtype that of the files stays.
    std::ostringstream out, progress;
    const std::string again = output_ + ".again";
    ASSERT_TRUE(ConvertCommand({output_, Output(again)}, out, progress).ok());
    EXPECT_EQ(*ReadFile(again + "/model.safetensors", 1 << 24),
              *ReadFile(output_ + "/model.safetensors", 1 << 24));
    ASSERT_TRUE(RemoveRecursively(again).ok());
  }
}

TEST_F(ModelCommandsTest, Convert_Shards_NoneLargerAndAllThere) {
  OutputOptions output = Output();
  output.shard_bytes = 10'000;
  EXPECT_THAT(Convert(output), HasSubstr(" files"));
  const auto files = layout::WeightFiles(output_);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_GT(files->size(), 2u);
  for (const std::string& file : *files) EXPECT_LT(*FileSize(file), 10'000 + 4'096) << file;
  EXPECT_THAT(files->front(), HasSubstr("/model-00001-of-000"));
  EXPECT_TRUE(at::equal(Weights(output_), Weights(model_)));
}

TEST_F(ModelCommandsTest, Convert_ConfigStyles_KeysOfOneOnly) {
  OutputOptions output = Output();
  output.style = layout::ConfigStyle::kTransformers4;
  EXPECT_THAT(Convert(output), HasSubstr("parameters"));
  EXPECT_TRUE(Config().contains("rope_theta"));
  EXPECT_FALSE(Config().contains("rope_parameters"));
  EXPECT_FALSE(Config().contains("dtype"));
  ASSERT_TRUE(RemoveRecursively(output_).ok());
  output.style = layout::ConfigStyle::kTransformers5;
  EXPECT_THAT(Convert(output), HasSubstr("parameters"));
  EXPECT_FALSE(Config().contains("rope_theta"));
  EXPECT_TRUE(Config().contains("rope_parameters"));
  EXPECT_FALSE(Config().contains("torch_dtype"));
}

TEST_F(ModelCommandsTest, Convert_Float16Overflow_RefusedNothingLeft) {
  tensor::ParameterArena arena = tiny::RandomArena(DigitConfig(32), false);
  arena.data()[7] = 1e6f;
  ASSERT_TRUE(tensor::WriteModelWeights(model_, arena).ok());
  OutputOptions output = Output();
  output.dtype = "float16";
  EXPECT_THAT(Convert(output), HasSubstr("tensor model.embed_tokens.weight has a value that is not "
                                         "finite as F16"));
  EXPECT_FALSE(FileExists(output_));
  const std::filesystem::path output_path(output_);
  EXPECT_THAT(*ListDirectory(output_path.parent_path().string()),
              Each(Not(StartsWith(output_path.filename().string()))));
}

TEST_F(ModelCommandsTest, Convert_OtherVocabulariesAndTemplates_AreCopied) {
  const std::string templates = model_ + "/additional_chat_templates";
  ASSERT_TRUE(MakeDirectories(templates).ok());
  const std::string names[] = {"vocab.txt", "spiece.model", "tekken.json",
                               "additional_chat_templates/tool_use.jinja"};
  for (const std::string& name : names) {
    ASSERT_TRUE(WriteFileDurably(model_ + "/" + name, name).ok());
  }
  EXPECT_THAT(Convert(Output()), HasSubstr("parameters"));
  for (const std::string& name : names) {
    EXPECT_EQ(*ReadFile(output_ + "/" + name, 1000), name);
  }
}

TEST_F(ModelCommandsTest, OutputFolder_EmptyIsTaken_OthersRefused) {
  ASSERT_TRUE(MakeDirectories(output_).ok());
  OutputOptions output = Output();
  output.folder += "/";
  EXPECT_THAT(Convert(output), HasSubstr("parameters"));
  EXPECT_THAT(Convert(output), HasSubstr("is not empty; expected a folder that does not exist"));
  output.folder = output_ + "/config.json";
  EXPECT_THAT(Convert(output), HasSubstr("is not a folder"));
  output.folder = "";
  EXPECT_THAT(Convert(output), HasSubstr("output is empty"));
}

TEST_F(ModelCommandsTest, Init_SameSeedSameWeights_AsAJobStarts) {
  std::ostringstream out, progress;
  InitOptions options{.config = model_, .output = Output(), .seed = 7, .std = 0.05};
  ASSERT_TRUE(InitCommand(options, out, progress).ok());
  tensor::ParameterArena want = tiny::ZeroArena(DigitConfig(32), false);
  tensor::InitializeRandom(7, 0.05, &want);
  EXPECT_TRUE(at::equal(Weights(output_), want.flat()));
  EXPECT_TRUE(FileExists(output_ + "/tokenizer.json"));
  options.output.folder = output_ + ".2";
  options.std = 0;
  EXPECT_THAT(std::string(InitCommand(options, out, progress).message()), HasSubstr("std is 0"));
  options.std = 1;
  options.config = output_ + "/nowhere";
  EXPECT_THAT(std::string(InitCommand(options, out, progress).message()),
              HasSubstr("nowhere/config.json"));
  EXPECT_FALSE(FileExists(options.output.folder));
}

TEST_F(ModelCommandsTest, Merge_ScoresAsTheAdapterDoes) {
  const std::string adapter = WriteDigitAdapter("model_commands_adapter", 32);
  EXPECT_THAT(Merge(adapter, Output()), HasSubstr("parameters"));
  EXPECT_FALSE(at::equal(Weights(output_), Weights(model_)));
  const auto score = [](const std::string& folder, const std::string& adapter_folder) {
    ScoreOptions options;
    options.model = {.folder = folder, .adapter = adapter_folder};
    options.prompt = "314";
    options.completion = "15926";
    options.json = true;
    std::ostringstream out;
    EXPECT_TRUE(ScoreCommand(options, out).ok());
    return *ParseJson(out.str(), "score");
  };
  const Json merged = score(output_, ""), applied = score(model_, adapter);
  for (int i = 0; i < 5; ++i) {
    EXPECT_NEAR(merged["log_probs"][i].get<double>(), applied["log_probs"][i].get<double>(), 1e-4);
  }
  ASSERT_TRUE(RemoveRecursively(adapter).ok());
}

// Merged in fp32, then rounded once to what the base's files hold.
TEST_F(ModelCommandsTest, Merge_IntoBfloat16_KeepsTheDtypeAndRoundsOnce) {
  const std::string adapter = WriteDigitAdapter("model_commands_adapter", 32);
  OutputOptions half = Output();
  half.dtype = "bfloat16";
  Convert(half);
  ASSERT_TRUE(RemoveRecursively(model_).ok());
  ASSERT_TRUE(RenameDurably(output_, model_).ok());
  OutputOptions wide = Output(output_ + ".wide");
  wide.dtype = "float32";
  EXPECT_THAT(Merge(adapter, wide), HasSubstr("float32"));
  EXPECT_THAT(Merge(adapter, Output()), HasSubstr("bfloat16"));
  const at::Tensor want = Weights(wide.folder);
  EXPECT_FALSE(at::equal(want, want.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_TRUE(at::equal(Weights(output_), want.to(at::kBFloat16).to(at::kFloat)));
  ASSERT_TRUE(RemoveRecursively(wide.folder).ok());
  ASSERT_TRUE(RemoveRecursively(adapter).ok());
}

TEST_F(ModelCommandsTest, Merge_BadAdapter_NamesTheFile) {
  EXPECT_THAT(Merge(model_, Output()), HasSubstr("adapter_config.json"));
  const std::string adapter = WriteDigitAdapter("model_commands_adapter", 32);
  ASSERT_TRUE(WriteFileDurably(adapter + "/adapter_config.json",
                               R"({"peft_type": "LORA", "r": 2, "target_modules": ["nothing"]})")
                  .ok());
  EXPECT_THAT(Merge(adapter, Output()), HasSubstr("adapter_config.json: target_modules nothing"));
  EXPECT_FALSE(FileExists(output_));
  ASSERT_TRUE(RemoveRecursively(adapter).ok());
}

TEST_F(ModelCommandsTest, BadInput_NamesFileAndField) {
  OutputOptions output = Output();
  output.dtype = "int8";
  EXPECT_THAT(Convert(output), HasSubstr("dtype is int8"));
  output.dtype = "";
  ASSERT_TRUE(WriteFileDurably(model_ + "/config.json", R"({"model_type": "llama",
      "quantization_config": {"bits": 4}})")
                  .ok());
  EXPECT_THAT(Convert(output), HasSubstr("config.json: quantization_config"));
  ASSERT_TRUE(WriteFileDurably(model_ + "/config.json", "{").ok());
  EXPECT_THAT(Convert(output), HasSubstr("config.json"));
}

}  // namespace
}  // namespace retort::worker
