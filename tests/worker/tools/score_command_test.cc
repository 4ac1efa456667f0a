#include "worker/tools/score_command.h"

#include <functional>
#include <sstream>

#include "absl/strings/str_split.h"
#include "common/base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/digit_model.h"
#include "worker/tools/generate_command.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class ScoreCommandTest : public ::testing::Test {
 protected:
  ScoreCommandTest() {
    options_.model.folder = folder_;
    options_.prompt = "314";
    options_.completion = "159";
  }
  ~ScoreCommandTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  std::string Text() const {
    std::ostringstream out;
    const absl::Status status = ScoreCommand(options_, out);
    return status.ok() ? out.str() : std::string(status.message());
  }

  Json Object() {
    options_.json = true;
    return *ParseJson(Text(), "the output");
  }

  const std::string folder_ = WriteDigitModel("score_command_test", 32);
  ScoreOptions options_;
};

TEST_F(ScoreCommandTest, LogitsOverflow_Refused) {
  WriteOverflowingHead(folder_);
  EXPECT_THAT(Text(), HasSubstr("token 0 of those to score: the model's logits are not finite"));
}

TEST_F(ScoreCommandTest, LinePerTokenAndTotal) {
  const std::vector<std::string> lines = absl::StrSplit(Text(), '\n');
  ASSERT_EQ(lines.size(), 5u);
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    const std::vector<std::string> parts = absl::StrSplit(lines[i], '\t');
    EXPECT_EQ(parts[0], std::string(1, options_.completion[i]));
    sum += std::stod(parts[1]);
  }
  const std::vector<std::string> total = absl::StrSplit(lines[3], '\t');
  EXPECT_NEAR(std::stod(total[1]), sum, 1e-5);
  EXPECT_LT(sum, 0);
}

TEST_F(ScoreCommandTest, Json_SameNumbers_TopSumsUpToOne) {
  const std::vector<std::string> lines = absl::StrSplit(Text(), '\n');
  options_.top_log_probs = 11;  // Every token.
  const Json json = Object();
  EXPECT_EQ(json["prompt_ids"], Json({3, 1, 4}));
  EXPECT_EQ(json["ids"], Json({1, 5, 9}));
  EXPECT_EQ(json["tokens"], Json({"1", "5", "9"}));
  for (int i = 0; i < 3; ++i) {
    const std::vector<std::string> parts = absl::StrSplit(lines[i], '\t');
    EXPECT_NEAR(json["log_probs"][i].get<double>(), std::stod(parts[1]), 1e-6);
    double mass = 0;
    for (const Json& top : json["top"][i]) mass += std::exp(top["log_prob"].get<double>());
    EXPECT_NEAR(mass, 1, 1e-5);
  }
}

TEST_F(ScoreCommandTest, GeneratedTokens_ScoredAsGenerated) {
  GenerateOptions generate;
  generate.model.folder = folder_;
  generate.prompt = options_.prompt;
  generate.json = true;
  generate.draw.choice.max_new_tokens = 6;
  std::ostringstream out;
  ASSERT_TRUE(GenerateCommand(generate, out).ok());
  const Json made = (*ParseJson(out.str(), "generate"))["samples"][0];
  options_.completion = made["text"];
  const Json scored = Object();
  ASSERT_GT(scored["ids"].size(), 0u);
  for (size_t i = 0; i < scored["ids"].size(); ++i) {
    EXPECT_NEAR(scored["log_probs"][i].get<double>(), made["log_probs"][i].get<double>(), 1e-5);
  }
}

TEST_F(ScoreCommandTest, Top_AppendedToEachLine) {
  options_.top_log_probs = 2;
  const std::vector<std::string> lines = absl::StrSplit(Text(), '\n');
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(lines[i],
                ::testing::MatchesRegex("[0-9]\t-[0-9.]+\t[0-9]+:-[0-9.]+\t[0-9]+:-[0-9.]+"));
  }
}

TEST_F(ScoreCommandTest, Adapter_ChangesTheNumbers) {
  const std::string without = Text();
  options_.model.adapter = WriteDigitAdapter("score_command_adapter", 32);
  EXPECT_NE(Text(), without);
  ASSERT_TRUE(RemoveRecursively(options_.model.adapter).ok());
}

TEST_F(ScoreCommandTest, BadOptions_SayWhich) {
  struct Case {
    std::function<void(ScoreOptions*)> change;
    const char* want;
  };
  const Case cases[] = {
      {[](auto* o) { o->completion = ""; }, "the completion is empty; give a text"},
      {[](auto* o) { o->prompt = ""; }, "the prompt is empty and the tokenizer adds no token"},
      {[](auto* o) { o->temperature = 0; }, "temperature is 0"},
      {[](auto* o) { o->top_log_probs = -1; }, "top_log_probs is -1"},
      {[](auto* o) { o->completion = std::string(30, '1'); }, "have 33 tokens"},
      {[](auto* o) { o->prompt = o->completion = "-"; }, "prompt and completion are both -"},
  };
  const ScoreOptions good = options_;
  for (const Case& c : cases) {
    options_ = good;
    c.change(&options_);
    EXPECT_THAT(Text(), HasSubstr(c.want));
  }
}

TEST_F(ScoreCommandTest, OutputThatTakesNothing_IsAnError) {
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  EXPECT_THAT(std::string(ScoreCommand(options_, out).message()),
              HasSubstr("the output cannot be written"));
}

}  // namespace
}  // namespace retort::worker
