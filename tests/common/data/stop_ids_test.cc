#include "common/data/stop_ids.h"

#include <memory>
#include <string>
#include <vector>

#include "common/base/json.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"

namespace retort::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kNamesEos[] = R"({"eos_token": "<eos>"})";

std::unique_ptr<text::Tokenizer> MakeTokenizer(const std::string& config) {
  auto tokenizer = text::Tokenizer::Parse(DumpJson(text::ByteLevelFile()), config, "test");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TEST(StopIdsTest, StopIds_TheModelsElseTheTokenizers) {
  layout::ModelConfig config;
  EXPECT_THAT(StopIdsOf(config, *MakeTokenizer("{}")), IsEmpty());
  EXPECT_THAT(StopIdsOf(config, *MakeTokenizer(kNamesEos)), ElementsAre(300));
  config.eos_token_ids = {7, 2};
  EXPECT_THAT(StopIdsOf(config, *MakeTokenizer(kNamesEos)), ElementsAre(7, 2));
}

TEST(StopIdsTest, Eos_OneOfSeveralStopIds_TheTokenizers) {
  const auto tokenizer = MakeTokenizer(kNamesEos);
  EXPECT_EQ(*EosOf(*tokenizer, {7, 300}), 300);
  EXPECT_THAT(EosOf(*tokenizer, {7}).status().ToString(),
              HasSubstr("the tokenizer's EOS is token 300, but rollouts stop at 7"));
}

TEST(StopIdsTest, Eos_TokenizerNamesNone_TheFirstStopId) {
  const auto tokenizer = MakeTokenizer("{}");
  EXPECT_EQ(*EosOf(*tokenizer, {7, 2}), 7);
  EXPECT_THAT(EosOf(*tokenizer, {}).status().ToString(), HasSubstr("responses could not end"));
}

}  // namespace
}  // namespace retort::data
