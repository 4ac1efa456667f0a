#include "common/text/bpe_trainer.h"

#include <string>
#include <vector>

#include "common/text/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

BpeTrainer MakeTrainer(BpeTrainerOptions options) {
  absl::StatusOr<BpeTrainer> trainer = BpeTrainer::Make(std::move(options));
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

std::vector<std::string> Merges(const BpeTrainer::Result& result) {
  std::vector<std::string> merges;
  const nlohmann::json file = nlohmann::json::parse(result.tokenizer_json);
  for (const auto& merge : file["model"]["merges"]) {
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return merges;
}

TEST(BpeTrainerTest, Train_MostFrequentPairFirstThenLowestIds) {
  BpeTrainer trainer = MakeTrainer({.vocab_size = 300});
  // "ab" 3 times, "bc" 3 times, "cd" once.
  for (const char* text : {"abc", "abc", "ab", "bc", "cd"}) ASSERT_TRUE(trainer.Add(text).ok());
  const BpeTrainer::Result result = trainer.Train();
  EXPECT_THAT(Merges(result), ElementsAre("a b", "ab c"));
  EXPECT_EQ(result.vocab_size, 258);
  EXPECT_EQ(result.distinct_words, 4);
}

TEST(BpeTrainerTest, Train_OverlappingPairs_CountedAsTheyMerge) {
  BpeTrainer trainer = MakeTrainer({.vocab_size = 258});
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(trainer.Add("aaaa").ok());
  EXPECT_THAT(Merges(trainer.Train()), ElementsAre("a a", "aa aa"));
}

TEST(BpeTrainerTest, Train_OrderOfTexts_DoesNotMatter) {
  BpeTrainer one = MakeTrainer({.vocab_size = 280}), other = MakeTrainer({.vocab_size = 280});
  const std::vector<std::string> texts = {"the cat sat", "on the mat", " that the cat ate"};
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(one.Add(texts[i]).ok());
    ASSERT_TRUE(other.Add(texts[2 - i]).ok());
  }
  EXPECT_EQ(one.Train().tokenizer_json, other.Train().tokenizer_json);
}

TEST(BpeTrainerTest, Train_EveryPattern_LoadsAndRoundTrips) {
  for (const char* pattern : {"gpt2", "llama3", "qwen2", "gpt-oss"}) {
    BpeTrainer trainer = MakeTrainer(
        {.vocab_size = 300, .special_tokens = {"<|end|>", "the the"}, .pattern = pattern});
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(trainer.Add("the thermal theory, 1234\n\n").ok());
    const auto tokenizer = Tokenizer::Parse(trainer.Train().tokenizer_json, "", pattern);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const std::string text = "the theory\xc3\xa4<|end|> 1234\n\nx";
    const auto ids = (*tokenizer)->Encode(text, true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*(*tokenizer)->Decode(*ids, false), text);
    EXPECT_LT(ids->size(), text.size());
    EXPECT_TRUE((*tokenizer)->IsSpecial(0));
  }
}

TEST(BpeTrainerTest, MergeThatSpellsASpecialToken_NotMade) {
  BpeTrainer trainer = MakeTrainer({.vocab_size = 260, .special_tokens = {"ab"}});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(trainer.Add("abc").ok());
  EXPECT_THAT(Merges(trainer.Train()), ElementsAre("b c", "a bc"));
}

TEST(BpeTrainerTest, OptionsOutOfRange_Named) {
  const struct {
    BpeTrainerOptions options;
    const char* want;
  } cases[] = {
      {{.vocab_size = 255}, "vocab size 255; expected 256"},
      {{.vocab_size = 256, .special_tokens = {"<s>"}}, "expected 257"},
      {{.vocab_size = 2'000'000}, "to 1000000"},
      {{.vocab_size = 300, .special_tokens = {"<s>", "<s>"}}, "\"<s>\" appears twice"},
      {{.vocab_size = 300, .special_tokens = {""}}, "expected 1 to 4096 bytes"},
      {{.vocab_size = 300, .special_tokens = {"a"}}, "more than one character"},
      {{.vocab_size = 300, .pattern = "bert"}, "pattern \"bert\"; expected gpt2"},
      {{.vocab_size = 300, .min_count = 0}, "min count"},
  };
  for (const auto& c : cases) {
    const absl::Status status = BpeTrainer::Make(c.options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(BpeTrainerTest, TextThatIsNotUtf8_RefusedWithByte) {
  BpeTrainer trainer = MakeTrainer({.vocab_size = 300});
  EXPECT_EQ(trainer.Add("ab\xff").message(), "not UTF-8 at byte 2");
}

}  // namespace
}  // namespace retort::text
