#include "worker/tools/answer_text.h"

#include <string>

#include "common/base/json.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

class AnswerTextTest : public testing::Test {
 protected:
  AnswerTextTest()
      : tokenizer_(*text::Tokenizer::Parse(DumpJson(text::ByteLevelFile()), "", "t")) {}

  const std::unique_ptr<text::Tokenizer> tokenizer_;
};

TEST_F(AnswerTextTest, Push_CharacterOverTokens_ShownWhole) {
  const auto answer = *AnswerText::Make(*tokenizer_, {'x'}, {});
  ASSERT_TRUE(answer->Push(0xC3).ok());
  EXPECT_EQ(answer->TakeNew(), "");
  ASSERT_TRUE(answer->Push(0xA9).ok());
  EXPECT_EQ(answer->TakeNew(), "é");
  ASSERT_TRUE(answer->Push(0xC3).ok());
  answer->Finish();
  EXPECT_EQ(answer->TakeNew(), "\xEF\xBF\xBD");
  EXPECT_EQ(answer->text(), "é\xEF\xBF\xBD");
}

TEST_F(AnswerTextTest, Push_StopString_TextEndsBeforeIt) {
  const auto answer = *AnswerText::Make(*tokenizer_, {'x'}, {"ba"});
  for (const int64_t id : {256, 256}) ASSERT_TRUE(answer->Push(id).ok());  // "ab" "ab"
  EXPECT_TRUE(answer->stopped());
  answer->Finish();
  EXPECT_EQ(answer->TakeNew(), "a");
}

TEST_F(AnswerTextTest, Finish_BeginningOfAStopString_Shown) {
  const auto answer = *AnswerText::Make(*tokenizer_, {'x'}, {"bc"});
  ASSERT_TRUE(answer->Push(256).ok());
  EXPECT_EQ(answer->TakeNew(), "a");
  answer->Finish();
  EXPECT_EQ(answer->TakeNew(), "b");
  EXPECT_FALSE(answer->stopped());
}

TEST_F(AnswerTextTest, Make_PromptIdWithoutToken_InvalidArgument) {
  EXPECT_EQ(AnswerText::Make(*tokenizer_, {299}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(AnswerTextSentencePieceTest, Push_AfterAPrompt_KeepsTheLeadingSpace) {
  const auto tokenizer = *text::Tokenizer::Parse(DumpJson(text::SentencePieceFile()), "", "t");
  const auto answer = *AnswerText::Make(*tokenizer, {260}, {});
  ASSERT_TRUE(answer->Push(262).ok());  // "▁a"
  answer->Finish();
  EXPECT_EQ(answer->text(), " a");
}

}  // namespace
}  // namespace retort::worker
