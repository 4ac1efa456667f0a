#include "driver/cli/tokenizer_commands.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;

class TokenizerCommandsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/tokenizer_commands_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_TRUE(RemoveRecursively(folder_).ok());
    ASSERT_TRUE(MakeDirectories(folder_).ok());
    Write("tokenizer.json", DumpJson(text::SentencePieceFile()));
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileDurably(folder_ + "/" + name, text).ok());
  }

  // What the command line `words` prints, or its error.
  std::string Output(std::vector<std::string> words) {
    CLI::App app;
    app.require_subcommand(1);
    TokenizerCommands commands;
    commands.AddTo(app);
    std::reverse(words.begin(), words.end());
    try {
      app.parse(words);
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    EXPECT_TRUE(commands.Chosen());
    std::ostringstream out;
    const absl::Status status = commands.Run(out);
    return status.ok() ? out.str() : std::string(status.message());
  }

  std::string folder_;
};

TEST_F(TokenizerCommandsTest, Tokenize_IdsOnOneLine) {
  EXPECT_EQ(Output({"tokenize", "--model", folder_, "b a"}), "1 259 261 262\n");
  EXPECT_EQ(Output({"tokenize", "--model", folder_, "--no-special-tokens", "b a"}),
            "259 261 262\n");
}

TEST_F(TokenizerCommandsTest, TokenizeJson_TokensAndSpans) {
  EXPECT_EQ(Output({"tokenize", "--json", "--model", folder_, "b a"}),
            R"({"ids":[1,259,261,262],"tokens":["<s>"," ","b"," a"],)"
            R"("source_spans":[[0,0],[0,0],[0,1],[1,3]],)"
            R"("normalized_spans":[[0,0],[0,0],[0,1],[1,3]]})"
            "\n");
}

TEST_F(TokenizerCommandsTest, TokenizeInvalidUtf8_RefusedUnlessReplaced) {
  EXPECT_EQ(Output({"tokenize", "--model", folder_, "a\xff"}), "text is not UTF-8 at byte 1");
  EXPECT_EQ(Output({"tokenize", "--model", folder_, "--invalid-utf8=replace", "a\xff"}),
            Output({"tokenize", "--model", folder_, "a\xef\xbf\xbd"}));
}

TEST_F(TokenizerCommandsTest, Detokenize_IdsHoweverTheyAreSeparated) {
  EXPECT_EQ(Output({"detokenize", "--model", folder_, "259", "261", "262"}), "b a\n");
  EXPECT_EQ(Output({"detokenize", "--model", folder_, "[259, 261,262]"}), "b a\n");
  EXPECT_EQ(Output({"detokenize", "--model", folder_, "--json", "1 262"}),
            "{\"text\":\"<s> a\"}\n");
  EXPECT_EQ(Output({"detokenize", "--model", folder_, "--skip-special-tokens", "1 262"}), "a\n");
  EXPECT_THAT(Output({"detokenize", "--model", folder_, "1", "x"}),
              HasSubstr("\"x\" is no token id"));
  EXPECT_THAT(Output({"detokenize", "--model", folder_, "999"}), HasSubstr("token id 999 "));
}

TEST_F(TokenizerCommandsTest, Train_WritesATokenizerThatEncodes) {
  Write("a.txt", "ab ab\nab\n");
  Write("b.txt", "ab");
  const std::string out = folder_ + "/new";
  EXPECT_EQ(Output({"tokenizer", "train", "--vocab-size", "258", "--special-token", "<end>",
                    "--output", out, folder_ + "/a.txt", folder_ + "/b.txt"}),
            out + "/tokenizer.json: 258 tokens from 3 distinct words\n");
  EXPECT_EQ(Output({"tokenize", "--model", out, "ab<end>"}), "257 0\n");
  EXPECT_EQ(
      Output({"tokenizer", "train", "--vocab-size", "257", "--output", out, folder_ + "/a.txt"}),
      out + "/tokenizer.json is there already; give another folder, or --overwrite");
  EXPECT_THAT(Output({"tokenizer", "train", "--vocab-size", "257", "--overwrite", "--output", out,
                      folder_ + "/a.txt"}),
              HasSubstr("257 tokens"));
}

TEST_F(TokenizerCommandsTest, Train_FewerTokensThanWanted_SaysSo) {
  Write("a.txt", "ab ab");
  EXPECT_THAT(Output({"tokenizer", "train", "--vocab-size", "400", "--output", folder_ + "/new",
                      folder_ + "/a.txt"}),
              HasSubstr("257 tokens from 2 distinct words; 400 were wanted"));
}

TEST_F(TokenizerCommandsTest, TrainBadInput_NamesFileAndLine) {
  Write("bad.txt", "fine\nb\xff\n");
  const std::string out = folder_ + "/new";
  EXPECT_EQ(
      Output({"tokenizer", "train", "--vocab-size", "300", "--output", out, folder_ + "/bad.txt"}),
      folder_ + "/bad.txt:2: not UTF-8 at byte 1");
  EXPECT_THAT(
      Output({"tokenizer", "train", "--vocab-size", "300", "--output", out, folder_ + "/none.txt"}),
      HasSubstr("/none.txt: No such file"));
  EXPECT_FALSE(FileExists(out));
}

}  // namespace
}  // namespace retort::driver
