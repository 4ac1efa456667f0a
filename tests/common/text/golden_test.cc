// Encoding and decoding against cases that were computed by Hugging Face's tokenizers.
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/json.h"
#include "common/text/golden_tokenizers.h"
#include "common/text/stream_decoder.h"
#include "common/text/tokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

class TokenizerGoldenTest : public GoldenTokenizerTest {
 protected:
  std::vector<Json> Lines(const std::string& op) const {
    return LinesOf("text/" + op + "_" + GetParam().name);
  }

  std::vector<Json> LinesOf(const std::string& folder) const {
    std::ifstream in(SharedDir() + "/goldens/" + folder + "/cases.jsonl");
    std::vector<Json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(*ParseJson(line, "case"));
    return lines;
  }
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

std::vector<std::pair<int64_t, int64_t>> Pairs(const Json& spans) {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (const Json& span : spans) pairs.emplace_back(span[0], span[1]);
  return pairs;
}

std::vector<std::pair<int64_t, int64_t>> Pairs(const std::vector<ByteSpan>& spans) {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (const ByteSpan& span : spans) pairs.emplace_back(span.begin, span.end);
  return pairs;
}

TEST_P(TokenizerGoldenTest, EncodeWithSpans_EveryCase_SameNormalizedSpans) {
  for (const Json& line : Lines("encode")) {
    const auto encoding = tokenizer_->EncodeWithSpans(line["text"].get<std::string>(),
                                                      line["add_special_tokens"].get<bool>());
    ASSERT_TRUE(encoding.ok()) << line["text"] << ": " << encoding.status().message();
    EXPECT_EQ(encoding->ids, line["ids"].get<std::vector<int64_t>>()) << line["text"];
    EXPECT_EQ(Pairs(encoding->normalized_spans), Pairs(line["offsets"])) << line["text"];
  }
}

// The tokenizers of the cases of two over one text.
class AlignedTextTest : public TokenizerGoldenTest {};

// In them this one is the first or the second.
TEST_P(AlignedTextTest, EncodeWithSpans_AlignedTexts_SameSourceSpans) {
  int checked = 0;
  for (const char* pair : {"qwen3_to_deepseek_v3", "mistral_to_qwen3", "deepseek_v3_to_mistral"}) {
    const std::string name = pair;
    const bool first = name.rfind(GetParam().name + "_to_", 0) == 0;
    if (!first && name.find("_to_" + GetParam().name) == name.npos) continue;
    const std::string side = first ? "student" : "teacher";
    for (const Json& line : LinesOf("distill/align_text/" + name)) {
      const auto encoding = tokenizer_->EncodeWithSpans(line["text"].get<std::string>(),
                                                        line["add_special_tokens"].get<bool>());
      ASSERT_TRUE(encoding.ok()) << line["text"] << ": " << encoding.status().message();
      EXPECT_EQ(encoding->ids, line[side + "_ids"].get<std::vector<int64_t>>()) << line["text"];
      EXPECT_EQ(Pairs(encoding->source_spans), Pairs(line[side + "_spans"])) << line["text"];
      ++checked;
    }
  }
  EXPECT_GT(checked, 0);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizerGoldenTest, GoldenTokenizers(),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Tokenizers, AlignedTextTest, AlignedTokenizers(),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace retort::text
