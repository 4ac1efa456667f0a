#include "common/text/vocab_merges.h"

#include <string>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"

namespace retort::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A folder with the files of ByteLevelFile() in the older form.
class VocabMergesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/vocab_merges_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_TRUE(RemoveRecursively(folder_).ok());
    ASSERT_TRUE(MakeDirectories(folder_).ok());
    json vocabulary = ByteLevelFile()["model"]["vocab"];
    vocabulary["<|endoftext|>"] = 259;
    Write("vocab.json", DumpJson(vocabulary));
    Write("merges.txt", "#version: 0.2\na b\r\n\xc4\xa0 ab\n\nab ab");
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileDurably(folder_ + "/" + name, text).ok());
  }
  std::string Error() { return std::string(Tokenizer::Load(folder_).status().message()); }

  std::string folder_;
};

TEST_F(VocabMergesTest, Load_EncodesAndDecodesAsGpt2) {
  const auto tokenizer = Tokenizer::Load(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->Encode("abab ab<|endoftext|>'s", true),
              ElementsAre(258, 257, 259, '\'', 's'));
  EXPECT_EQ(*(*tokenizer)->Decode({258, 259}, /*skip_special_tokens=*/true), "abab");
  EXPECT_EQ((*tokenizer)->vocab_size(), 260);
}

TEST_F(VocabMergesTest, TokenizerJsonBesideThem_Decides) {
  Write("tokenizer.json", DumpJson(SentencePieceFile()));
  EXPECT_EQ((*Tokenizer::Load(folder_))->vocab_size(), 264);
}

TEST_F(VocabMergesTest, Config_BosPrefixSpaceAndAddedTokens) {
  Write("tokenizer_config.json",
        R"({"tokenizer_class":"GPT2Tokenizer","add_bos_token":true,"add_prefix_space":true,
            "bos_token":{"content":"<|endoftext|>"}})");
  Write("added_tokens.json", R"({"<extra>":300})");
  const auto tokenizer = Tokenizer::Load(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->Encode("ab<extra>", true), ElementsAre(259, 257, 300));
  EXPECT_EQ((*tokenizer)->bos_id(), 259);
  EXPECT_FALSE((*tokenizer)->IsSpecial(300));
}

TEST_F(VocabMergesTest, Qwen2_ComposesAndCutsDigits) {
  Write("tokenizer_config.json",
        R"({"tokenizer_class":"Qwen2TokenizerFast","added_tokens_decoder":
            {"400":{"content":"<|im_end|>","special":true,"normalized":false}}})");
  const auto tokenizer = Tokenizer::Load(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->Encode("a\xcc\x88<|im_end|>", false), ElementsAre(0xC3, 0xA4, 400));
}

TEST_F(VocabMergesTest, Broken_OneLineSaysWhatAndWhere) {
  Write("merges.txt", "a b\nx q\n");
  EXPECT_THAT(Error(), HasSubstr("/(vocab.json, merges.txt).model.merges[1] needs \"xq\""));
  Write("merges.txt", "a b\na\xff b\n");
  EXPECT_THAT(Error(), HasSubstr("/merges.txt: not UTF-8 at byte 5"));
  Write("merges.txt", "a b\n");
  Write("tokenizer_config.json", R"({"tokenizer_class":"CLIPTokenizer"})");
  EXPECT_THAT(Error(), HasSubstr("tokenizer_config.json.tokenizer_class is CLIPTokenizer; "));
  Write("tokenizer_config.json", "{}");
  Write("vocab.json", "[1]");
  EXPECT_THAT(Error(), HasSubstr("/vocab.json: expected an object"));
  Write("vocab.json", "{\"a\":0");
  EXPECT_THAT(Error(), HasSubstr("/vocab.json: not valid JSON at byte 6"));
}

TEST_F(VocabMergesTest, FolderOfAnotherKind_RefusedByName) {
  ASSERT_TRUE(RemoveRecursively(folder_ + "/vocab.json").ok());
  Write("tokenizer.model", "x");
  const absl::Status status = Tokenizer::Load(folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/tokenizer.model is a SentencePiece"));
}

}  // namespace
}  // namespace retort::text
