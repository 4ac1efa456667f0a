// Encoding and decoding against cases that were computed by Hugging Face's tokenizers. They lie
// outside of the repository, in RETORT_SHARED (default ../shared); without them this test is
// skipped.
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/text/stream_decoder.h"
#include "common/text/tokenizer.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

std::string SharedDir() {
  const char* shared = std::getenv("RETORT_SHARED");
  if (shared != nullptr) return shared;
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  return ResolvePath(source == nullptr ? "." : source, "../shared");
}

struct GoldenCase {
  std::string name;    // Folder under goldens/text is encode_<name> and decode_<name>.
  std::string folder;  // Under data/.
};

void PrintTo(const GoldenCase& golden, std::ostream* out) { *out << golden.name; }

class TokenizerGoldenTest : public testing::TestWithParam<GoldenCase> {
 protected:
  void SetUp() override {
    const std::string folder = SharedDir() + "/data/" + GetParam().folder;
    if (!FileExists(folder + "/tokenizer.json"))
      GTEST_SKIP() << "no " << folder << "; set RETORT_SHARED";
    // Loaded once: a large vocabulary takes a second.
    static auto* loaded = new std::map<std::string, absl::StatusOr<std::unique_ptr<Tokenizer>>>();
    auto [it, inserted] = loaded->try_emplace(GetParam().name, absl::UnknownError("not loaded"));
    if (inserted) it->second = Tokenizer::Load(folder);
    ASSERT_TRUE(it->second.ok()) << it->second.status().message();
    tokenizer_ = it->second->get();
  }

  std::vector<Json> Lines(const std::string& op) const {
    std::ifstream in(SharedDir() + "/goldens/text/" + op + "_" + GetParam().name + "/cases.jsonl");
    std::vector<Json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(*ParseJson(line, "case"));
    return lines;
  }

  const Tokenizer* tokenizer_ = nullptr;
};

TEST_P(TokenizerGoldenTest, Encode_EveryCase_SameIds) {
  const std::vector<Json> lines = Lines("encode");
  ASSERT_FALSE(lines.empty());
  for (const Json& line : lines) {
    const auto ids =
        tokenizer_->Encode(line["text"].get<std::string>(), line["add_special_tokens"].get<bool>());
    ASSERT_TRUE(ids.ok()) << line["text"] << ": " << ids.status().message();
    EXPECT_EQ(*ids, line["ids"].get<std::vector<int64_t>>()) << line["text"];
  }
}

TEST_P(TokenizerGoldenTest, Decode_EveryCase_SameTextWholeAndStreamed) {
  const std::vector<Json> lines = Lines("decode");
  ASSERT_FALSE(lines.empty());
  for (const Json& line : lines) {
    const auto ids = line["ids"].get<std::vector<int64_t>>();
    const bool skip = line["skip_special_tokens"].get<bool>();
    const auto text = tokenizer_->Decode(ids, skip);
    if (line.contains("error")) {
      const std::string want = line["error"].get<std::string>();
      ASSERT_FALSE(text.ok()) << line["ids"];
      EXPECT_NE(text.status().message().find(want), text.status().message().npos) << text.status();
      continue;
    }
    ASSERT_TRUE(text.ok()) << line["ids"] << ": " << text.status().message();
    EXPECT_EQ(*text, line["text"].get<std::string>()) << line["ids"];
    StreamDecoder decoder(*tokenizer_, skip);
    std::string streamed;
    for (const int64_t id : ids) streamed += *decoder.Push(id);
    EXPECT_EQ(streamed + decoder.Finish(), *text) << line["ids"];
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizerGoldenTest,
                         testing::Values(GoldenCase{"aidreams260K", "models/aidreams260K"},
                                         GoldenCase{"mistral", "tokenizers/mistral"},
                                         GoldenCase{"gemma3", "tokenizers/gemma3"},
                                         GoldenCase{"qwen3", "tokenizers/qwen3"},
                                         GoldenCase{"deepseek_v3", "tokenizers/deepseek_v3"},
                                         GoldenCase{"gptoss", "tokenizers/gptoss"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace retort::text
