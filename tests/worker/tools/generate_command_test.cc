#include "worker/tools/generate_command.h"

#include <functional>
#include <set>
#include <sstream>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/digit_model.h"

namespace retort::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Puts <eos>, id 10, before every text.
std::string TokenizerWithTemplate() {
  return absl::StrReplaceAll(kDigitTokenizer, {{R"("post_processor": null)",
                                                R"("post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<eos>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<eos>": {"id": "<eos>", "ids": [10], "tokens": ["<eos>"]}}})"}});
}

class GenerateCommandTest : public ::testing::Test {
 protected:
  GenerateCommandTest() {
    options_.model.folder = folder_;
    options_.prompt = "314";
  }
  ~GenerateCommandTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  std::string Text() const {
    std::ostringstream out;
    const absl::Status status = GenerateCommand(options_, out);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out.str();
  }

  Json Object() {
    options_.json = true;
    const auto json = ParseJson(Text(), "the output");
    EXPECT_TRUE(json.ok()) << json.status();
    return json.value_or(Json());
  }

  std::string Refusal() const {
    std::ostringstream out;
    const absl::Status status = GenerateCommand(options_, out);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status.ToString();
    EXPECT_EQ(out.str(), "");
    return std::string(status.message());
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileDurably(folder_ + "/" + name, text).ok());
  }

  const std::string folder_ = WriteDigitModel("generate_command_test", 32);
  GenerateOptions options_;
};

TEST_F(GenerateCommandTest, SameSeedSameText_DigitsAndOneLineEnd) {
  const std::string text = Text();
  EXPECT_EQ(text, Text());
  ASSERT_FALSE(text.empty());
  EXPECT_EQ(text.find_first_not_of("0123456789"), text.size() - 1);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_LE(text.size(), 30u);  // 29 positions are left, and the line end.
}

TEST_F(GenerateCommandTest, OtherSeeds_OtherTexts) {
  std::set<std::string> texts;
  for (options_.draw.seed = 1; options_.draw.seed <= 8; ++options_.draw.seed) texts.insert(Text());
  EXPECT_GT(texts.size(), 4u);
}

TEST_F(GenerateCommandTest, Json_EveryTokenWithItsLogProbs) {
  options_.draw.choice.max_new_tokens = 5;
  options_.draw.choice.ignore_eos = true;
  options_.draw.choice.top_k = 2;
  options_.top_log_probs = 3;
  const Json json = Object();
  EXPECT_EQ(json["prompt_ids"], Json({3, 1, 4}));
  ASSERT_EQ(json["samples"].size(), 1u);
  const Json& sample = json["samples"][0];
  EXPECT_EQ(sample["finish_reason"], "length");
  for (const char* list : {"ids", "tokens", "log_probs", "raw_log_probs", "top"}) {
    ASSERT_EQ(sample[list].size(), 5u) << list;
  }
  std::string text;
  for (int i = 0; i < 5; ++i) {
    const int64_t id = sample["ids"][i];
    const std::string token = id == 10 ? "<eos>" : std::to_string(id);
    EXPECT_EQ(sample["tokens"][i], token);
    if (id != 10) text += token;
    const Json& top = sample["top"][i];
    ASSERT_EQ(top.size(), 3u);
    // Among two ids each is likelier than among all.
    EXPECT_GT(sample["log_probs"][i], sample["raw_log_probs"][i]);
    EXPECT_TRUE(top[0]["id"] == id || top[1]["id"] == id);
    EXPECT_GT(top[0]["log_prob"], top[2]["log_prob"]);
  }
  EXPECT_EQ(sample["text"], text);
}

TEST_F(GenerateCommandTest, Samples_FirstIsTheSingleOne_TextsOneALine) {
  options_.draw.choice.ignore_eos = true;
  const std::string one = Text();
  options_.samples = 3;
  const std::vector<std::string> lines = absl::StrSplit(Text(), '\n');
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0] + "\n", one);
  EXPECT_EQ(std::set<std::string>(lines.begin(), lines.end()).size(), 4u);
  const Json json = Object();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(json["samples"][i]["text"], lines[i]);
}

TEST_F(GenerateCommandTest, Stop_CutsTextKeepsTokens) {
  options_.draw.choice.temperature = 0;
  options_.draw.choice.ignore_eos = true;
  options_.draw.choice.max_new_tokens = 12;
  const std::string whole = Text();
  ASSERT_GE(whole.size(), 7u);
  const std::string stop = whole.substr(3, 2);
  const size_t cut = whole.find(stop);
  options_.draw.stops = {"no digits", stop};
  EXPECT_EQ(Text(), whole.substr(0, cut) + "\n");
  const Json json = Object();
  const Json& sample = json["samples"][0];
  EXPECT_EQ(sample["finish_reason"], "stop");
  EXPECT_EQ(sample["text"], whole.substr(0, cut));
  EXPECT_GE(sample["ids"].size(), cut + 2);
  EXPECT_EQ(sample["log_probs"].size(), sample["ids"].size());
}

TEST_F(GenerateCommandTest, GenerationConfig_GivesDefaults_FlagsWin) {
  options_.draw.choice.temperature = 0;
  options_.draw.choice.max_new_tokens = 4;
  options_.draw.choice.ignore_eos = true;
  const std::string greedy = Text();
  options_.draw.choice = {};
  options_.draw.choice.ignore_eos = true;
  Write("generation_config.json", R"({"do_sample": false, "max_new_tokens": 4})");
  EXPECT_EQ(Text(), greedy);
  options_.draw.choice.max_new_tokens = 2;
  EXPECT_EQ(Object()["samples"][0]["ids"].size(), 2u);
  Write("generation_config.json", R"({"top_p": 3})");
  EXPECT_THAT(Refusal(), HasSubstr("generation_config.json: top_p"));
}

TEST_F(GenerateCommandTest, SpecialTokens_AsTheTokenizerAddsThem_UnlessLeftOut) {
  Write("tokenizer.json", TokenizerWithTemplate());
  EXPECT_EQ(Object()["prompt_ids"], Json({10, 3, 1, 4}));
  options_.text.special_tokens = false;
  EXPECT_EQ(Object()["prompt_ids"], Json({3, 1, 4}));
  options_.prompt = "";
  EXPECT_THAT(Refusal(), HasSubstr("the prompt is empty"));
  options_.text.special_tokens = true;
  EXPECT_EQ(Object()["prompt_ids"], Json::array({10}));
}

TEST_F(GenerateCommandTest, IdsWithoutToken_NeverSampled) {
  // Token 5 is gone; the model still has a row for it.
  Write("tokenizer.json", absl::StrReplaceAll(kDigitTokenizer, {{R"("5": 5, )", ""}}));
  options_.samples = 64;
  options_.draw.choice.ignore_eos = true;
  options_.draw.choice.temperature = 5;
  const Json json = Object();
  std::set<int64_t> ids;
  for (const Json& sample : json["samples"]) ids.insert(sample["ids"].begin(), sample["ids"].end());
  EXPECT_EQ(ids, (std::set<int64_t>{0, 1, 2, 3, 4, 6, 7, 8, 9, 10}));
}

TEST_F(GenerateCommandTest, EosOfTheTokenizerAlone_EndsSamples_UnlessTheModelLacksIt) {
  layout::ModelConfig config = DigitConfig(32);
  config.eos_token_ids.clear();
  Write("config.json", layout::ModelConfigJson(config));
  Write("tokenizer_config.json", R"({"eos_token": "<eos>"})");
  options_.samples = 64;
  options_.draw.choice.temperature = 5;
  const auto ended_by_eos = [&] {
    const Json json = Object();
    return std::count_if(json["samples"].begin(), json["samples"].end(),
                         [](const Json& sample) { return sample["finish_reason"] == "eos"; });
  };
  EXPECT_GT(ended_by_eos(), 0);
  Write("tokenizer.json", absl::StrReplaceAll(kDigitTokenizer, {{R"("id": 10)", R"("id": 40)"}}));
  EXPECT_EQ(ended_by_eos(), 0);
}

TEST_F(GenerateCommandTest, Adapter_ChangesTheAnswer) {
  options_.draw.choice.temperature = 0;
  options_.draw.choice.ignore_eos = true;
  const std::string without = Text();
  options_.model.adapter = WriteDigitAdapter("generate_command_adapter", 32);
  EXPECT_NE(Text(), without);
  ASSERT_TRUE(RemoveRecursively(options_.model.adapter).ok());
}

TEST_F(GenerateCommandTest, Bfloat16_WhatRoundedWeightsGive) {
  options_.draw.choice.temperature = 0;
  options_.draw.choice.ignore_eos = true;
  options_.model.bfloat16 = true;
  const Json held = Object();
  tensor::ParameterArena arena = tiny::RandomArena(DigitConfig(32), false);
  arena.flat().copy_(arena.flat().to(at::kBFloat16));
  ASSERT_TRUE(tensor::WriteModelWeights(folder_, arena).ok());
  options_.model.bfloat16 = false;
  EXPECT_EQ(Object(), held);
}

TEST_F(GenerateCommandTest, BadOptions_SayWhich) {
  struct Case {
    std::function<void(GenerateOptions*)> change;
    const char* want;
  };
  const Case cases[] = {
      {[](auto* o) { o->draw.choice.temperature = -1; },
       "temperature is -1; expected 0 (greedy) or"},
      {[](auto* o) { o->draw.choice.top_p = 0; }, "top_p is 0"},
      {[](auto* o) { o->draw.choice.min_p = 2; }, "min_p is 2"},
      {[](auto* o) { o->draw.choice.repetition_penalty = 0; }, "repetition_penalty is 0"},
      {[](auto* o) { o->draw.choice.max_new_tokens = 30; },
       "max_new_tokens is 30; expected 1 to 29"},
      {[](auto* o) {
         o->draw.stops = {"1", ""};
       },
       "stop[1] has 0 bytes"},
      {[](auto* o) {
         o->top_log_probs = 12;
         o->json = true;
       },
       "top_log_probs is 12; expected 0 to 11"},
      {[](auto* o) { o->top_log_probs = 2; }, "--top-log-probs is for --json"},
      {[](auto* o) { o->prompt = ""; }, "the prompt is empty and the tokenizer adds no token"},
      {[](auto* o) { o->prompt = std::string(32, '1'); }, "the model's context is 32"},
      {[](auto* o) { o->prompt = "31\xff"; }, "prompt: "},
      {[](auto* o) { o->prompt = "3x"; }, "prompt: "},
  };
  const GenerateOptions good = options_;
  for (const Case& c : cases) {
    options_ = good;
    c.change(&options_);
    EXPECT_THAT(Refusal(), HasSubstr(c.want));
  }
}

TEST_F(GenerateCommandTest, OutputThatTakesNothing_IsAnError) {
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  EXPECT_THAT(std::string(GenerateCommand(options_, out).message()),
              HasSubstr("the output cannot be written"));
}

}  // namespace
}  // namespace retort::worker
