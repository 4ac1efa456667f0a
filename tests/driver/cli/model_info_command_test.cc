#include "driver/cli/model_info_command.h"

#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/layout/safetensors_header.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/family_configs.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;

// 3 layers of width 30, 5 heads, 1 for keys and values; one key that nobody knows.
constexpr char kConfig[] = R"({"model_type": "qwen2", "vocab_size": 37, "hidden_size": 30,
 "intermediate_size": 44, "num_hidden_layers": 3, "num_attention_heads": 5,
 "num_key_value_heads": 1, "max_position_embeddings": 64, "tie_word_embeddings": true,
 "favourite_colour": "blue"})";
// Embedding; per layer q, k, v with biases, o, gate, up, down and two norms; the final norm.
constexpr int64_t kParameters = 37 * 30 + 3 * (30 * 42 + 42 + 30 * 30 + 3 * 30 * 44 + 2 * 30) + 30;

class ModelInfoCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = tiny::ConfigFolder(kConfig);
    Write("model.safetensors", Weights("BF16"));
    Write("tokenizer.json", DumpJson(text::SentencePieceFile()));
    Write("chat_template.jinja", "{{ messages }}");
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileDurably(folder_ + "/" + name, text).ok());
  }
  void Remove(const std::string& name) {
    ASSERT_TRUE(RemoveRecursively(folder_ + "/" + name).ok());
  }

  // A whole weight file of zeros.
  std::string Weights(const std::string& dtype) const {
    const layout::ModelConfig config = *layout::LoadModelConfig(folder_);
    std::vector<layout::SafetensorsSpec> specs;
    int64_t elements = 0;
    for (const layout::ParameterEntry& entry : layout::LayoutFor(config, false).entries) {
      for (const layout::FileTensor& part : entry.parts) {
        specs.push_back({part.name, dtype, part.shape});
        elements += part.elements();
      }
    }
    return layout::EncodeSafetensorsHeader(specs) + std::string(2 * elements, '\0');
  }

  absl::StatusOr<std::string> Info(bool json) const {
    std::ostringstream out;
    const absl::Status status = ModelInfoCommand({folder_, json}, out);
    if (!status.ok()) return status;
    return out.str();
  }

  Json Object() const {
    const auto text = Info(true);
    EXPECT_TRUE(text.ok()) << text.status();
    return *ParseJson(text.value_or("null"), "the output");
  }

  std::string folder_;
};

TEST_F(ModelInfoCommandTest, Json_EveryFact) {
  const Json json = Object();
  EXPECT_EQ(json["family"], "qwen2");
  EXPECT_EQ(json["task"], "causal_lm");
  EXPECT_EQ(json["parameters"], kParameters);
  EXPECT_EQ(json["weights"]["files"], 1);
  EXPECT_EQ(json["weights"]["bytes"], *FileSize(folder_ + "/model.safetensors"));
  EXPECT_EQ(json["weights"]["tensors"], (Json{{"BF16", 2 + 3 * 12}}));
  EXPECT_EQ(json["layers"], 3);
  EXPECT_EQ(json["hidden_size"], 30);
  EXPECT_EQ(json["heads"], 5);
  EXPECT_EQ(json["key_value_heads"], 1);
  EXPECT_EQ(json["context"], 64);
  EXPECT_EQ(json["vocab_size"], 37);
  EXPECT_EQ(json["tied_embeddings"], true);
  EXPECT_EQ(json["tokenizer_vocab_size"], 264);
  EXPECT_EQ(json["chat_template"], true);
  EXPECT_EQ(json["unknown_config_keys"], Json::array({"favourite_colour"}));
}

TEST_F(ModelInfoCommandTest, Text_ALineAFact) {
  const std::string text = *Info(false);
  EXPECT_THAT(text, HasSubstr("family          qwen2\n"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("parameters      ", kParameters, "\n")));
  EXPECT_THAT(text, HasSubstr(" bytes in 1 file: 38 tensors BF16\n"));
  EXPECT_THAT(text, HasSubstr("vocabulary      37, tied\n"));
  EXPECT_THAT(text, HasSubstr("tokenizer       264 tokens\n"));
  EXPECT_THAT(text, HasSubstr("chat template   yes\n"));
  EXPECT_THAT(text, HasSubstr("unknown keys    favourite_colour\n"));
}

TEST_F(ModelInfoCommandTest, FolderWithAConfigOnly_SaysWhatIsMissing) {
  for (const char* name : {"model.safetensors", "tokenizer.json", "chat_template.jinja"}) {
    Remove(name);
  }
  const std::string text = *Info(false);
  EXPECT_THAT(text, HasSubstr("weights         none: "));
  EXPECT_THAT(text, HasSubstr("tokenizer       none\n"));
  EXPECT_THAT(text, HasSubstr("chat template   none\n"));
  const Json json = Object();
  EXPECT_TRUE(json["weights"].is_null());
  EXPECT_TRUE(json["tokenizer_vocab_size"].is_null());
  EXPECT_EQ(json["chat_template"], false);
}

TEST_F(ModelInfoCommandTest, PickledWeightsOnly_SaysHowToConvert) {
  Remove("model.safetensors");
  Write("pytorch_model.bin", "x");
  EXPECT_THAT(*Info(false), HasSubstr("with Transformers to convert it"));
}

TEST_F(ModelInfoCommandTest, TokenizerOfAnotherKind_IsNamed) {
  text::json file = text::SentencePieceFile();
  file["model"]["type"] = "Unigram";
  Write("tokenizer.json", DumpJson(file));
  const std::string text = *Info(false);
  EXPECT_THAT(text, HasSubstr("tokenizer       not read: "));
  EXPECT_THAT(text, HasSubstr("Unigram"));
}

TEST_F(ModelInfoCommandTest, BrokenFiles_AreErrorsThatNameThem) {
  const auto refused = [&](const std::string& name, const std::string& text,
                           const std::string& want) {
    const std::string before = *ReadFile(folder_ + "/" + name, 1 << 20);
    Write(name, text);
    const absl::Status status = Info(false).status();
    EXPECT_FALSE(status.ok()) << want;
    EXPECT_THAT(std::string(status.message()), HasSubstr(want));
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status;
    Write(name, before);
  };
  refused("config.json", "{", "config.json");
  refused("config.json", R"({"model_type": "bert"})", "config.json: model_type \"bert\"");
  refused("config.json", R"({"model_type": "llama", "hidden_size": "x"})",
          "config.json: hidden_size");
  refused("model.safetensors", Weights("BF16").substr(0, 3000), "model.safetensors");
  refused("tokenizer.json", "[]", "tokenizer.json");
  refused("chat_template.jinja", "{% for %}", "chat_template.jinja");
}

}  // namespace
}  // namespace retort::driver
