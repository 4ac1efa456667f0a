// generate and score on a model with a byte-level tokenizer of ten digits.
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/tensor/model_weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/tiny_model.h"
#include "worker/tools/generate_command.h"
#include "worker/tools/score_command.h"

namespace retort::worker {
namespace {

// Ids 0 .. 9 are the digits, 10 is <eos>.
constexpr char kTokenizer[] = R"({"version": "1.0",
  "added_tokens": [{"id": 10, "content": "<eos>", "special": true, "normalized": false,
                    "single_word": false, "lstrip": false, "rstrip": false}],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": false},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "merges": [],
            "vocab": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9}}})";

class ToolsTest : public ::testing::Test {
 protected:
  ToolsTest() {
    folder_ = absl::StrCat(::testing::TempDir(), "/tools_test");
    layout::ModelConfig config = tiny::TinyConfig();
    config.vocab_size = 12;  // One more than the tokenizer: never sampled.
    config.eos_token_ids = {10};
    config.max_position_embeddings = 32;
    EXPECT_TRUE(MakeDirectories(folder_).ok());
    EXPECT_TRUE(WriteFileDurably(folder_ + "/config.json", layout::ModelConfigJson(config)).ok());
    EXPECT_TRUE(WriteFileDurably(folder_ + "/tokenizer.json", kTokenizer).ok());
    EXPECT_TRUE(tensor::WriteModelWeights(folder_, tiny::RandomArena(config, false)).ok());
  }

  std::string Generate(const GenerateOptions& options) {
    std::ostringstream out;
    const absl::Status status = GenerateCommand(options, out);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out.str();
  }

  GenerateOptions Options() const {
    GenerateOptions options;
    options.model = folder_;
    options.prompt = "314";
    return options;
  }

  std::string folder_;
};

TEST_F(ToolsTest, Generate_SameSeedSameText_DigitsAndOneLineEnd) {
  const std::string text = Generate(Options());
  EXPECT_EQ(text, Generate(Options()));
  ASSERT_FALSE(text.empty());
  EXPECT_EQ(text.find_first_not_of("0123456789"), text.size() - 1);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_LE(text.size(), 30u);  // 29 positions are left, and the line end.
}

TEST_F(ToolsTest, Generate_OtherSeeds_OtherTexts) {
  std::set<std::string> texts;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    GenerateOptions options = Options();
    options.seed = seed;
    texts.insert(Generate(options));
  }
  EXPECT_GT(texts.size(), 4u);
}

TEST_F(ToolsTest, Generate_BadOptions_SayWhich) {
  const auto refused = [&](const GenerateOptions& options, const char* part) {
    std::ostringstream out;
    const absl::Status status = GenerateCommand(options, out);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << part;
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status.ToString();
    EXPECT_EQ(out.str(), "");
  };
  GenerateOptions options = Options();
  options.temperature = 0;
  refused(options, "temperature");
  options = Options();
  options.prompt = "";
  refused(options, "prompt is empty");
  options = Options();
  options.prompt = std::string(32, '1');
  refused(options, "context");
  options = Options();
  options.max_new_tokens = 30;
  refused(options, "max_position_embeddings");
  options = Options();
  options.add_bos = true;
  refused(options, "BOS");
}

TEST_F(ToolsTest, Score_LinePerTokenAndTotal) {
  ScoreOptions options;
  options.model = folder_;
  options.prompt = "314";
  options.completion = "159";
  std::ostringstream out;
  ASSERT_TRUE(ScoreCommand(options, out).ok());
  const std::vector<std::string> lines = absl::StrSplit(out.str(), '\n');
  ASSERT_EQ(lines.size(), 5u);
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    const std::vector<std::string> parts = absl::StrSplit(lines[i], '\t');
    EXPECT_EQ(parts[0], std::string(1, options.completion[i]));
    sum += std::stod(parts[1]);
  }
  const std::vector<std::string> total = absl::StrSplit(lines[3], '\t');
  EXPECT_NEAR(std::stod(total[1]), sum, 1e-5);
  EXPECT_LT(sum, 0);
}

TEST_F(ToolsTest, Score_EmptyText_SaysWhich) {
  ScoreOptions options;
  options.model = folder_;
  options.prompt = "314";
  std::ostringstream out;
  EXPECT_THAT(std::string(ScoreCommand(options, out).message()),
              ::testing::StartsWith("the completion is empty; give a text"));
  options.completion = "159";
  options.prompt = "";
  EXPECT_THAT(std::string(ScoreCommand(options, out).message()),
              ::testing::StartsWith("the prompt is empty; give a text, or --add-bos"));
}

TEST_F(ToolsTest, OutputThatTakesNothing_IsAnError) {
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  EXPECT_THAT(std::string(GenerateCommand(Options(), out).message()),
              ::testing::HasSubstr("the output cannot be written"));
  ScoreOptions options;
  options.model = folder_;
  options.prompt = "314";
  options.completion = "159";
  EXPECT_THAT(std::string(ScoreCommand(options, out).message()),
              ::testing::HasSubstr("the output cannot be written"));
}

}  // namespace
}  // namespace retort::worker
