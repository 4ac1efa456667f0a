#include "worker/reward/reward_set.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// `text` is the body of a JobSpec: "rewards { ... } rewards { ... }".
absl::StatusOr<RewardSet> Make(const std::string& text) {
  v1::JobSpec job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job)) << text;
  return RewardSet::Make(job.rewards());
}

constexpr char kExact[] = "rewards { exact_match { require_eos: true strip: true } weight: 1 }";

Completion Finished(absl::string_view text, absl::string_view answer) {
  return {.prompt = "p", .text = text, .tokens = 3, .finished = true, .answer = answer};
}

TEST(RewardSetTest, ExactMatch_NeedsTheAnswerAndEos) {
  const auto set = Make(kExact);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->Score(Finished("12", "12"))->score, 1);
  EXPECT_EQ(set->Score(Finished(" 12\n", "12"))->score, 1);
  EXPECT_EQ(set->Score(Finished("1 2", "12"))->score, 0);
  const auto verbatim = Make("rewards { exact_match { strip: false } weight: 1 }");
  EXPECT_EQ(verbatim->Score(Finished(" 12", "12"))->score, 0);
  EXPECT_EQ(set->Score(Finished("1", "12"))->score, 0);
  Completion cut = Finished("12", "12");
  cut.finished = false;
  EXPECT_EQ(set->Score(cut)->score, 0);
  EXPECT_EQ(Make("rewards { exact_match { require_eos: true } weight: 1 }")->Score(cut)->score, 0);
  EXPECT_EQ(Make("rewards { exact_match { require_eos: false } weight: 1 }")->Score(cut)->score, 1);
}

TEST(RewardSetTest, Regex_SearchesAnywhere) {
  const auto set = Make(R"(rewards { regex { pattern: "\\bcat\\b" } weight: 1 })");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->Score(Finished("a cat.", ""))->score, 1);
  EXPECT_EQ(set->Score(Finished("category", ""))->score, 0);
}

TEST(RewardSetTest, Length_FallsLinearlyToZero) {
  const auto set = Make("rewards { length { target: 10 tolerance: 4 } weight: 1 }");
  ASSERT_TRUE(set.ok()) << set.status();
  const struct {
    int64_t tokens;
    double want;
  } cases[] = {{10, 1}, {11, 0.75}, {9, 0.75}, {14, 0}, {6, 0}, {0, 0}, {100, 0}};
  for (const auto& c : cases) {
    Completion completion;
    completion.tokens = c.tokens;
    EXPECT_EQ(set->Score(completion)->score, c.want) << c.tokens;
  }
}

TEST(RewardSetTest, Score_IsWeightedSumAndPartsAreNot) {
  const auto set = Make(R"(rewards { exact_match { require_eos: true } weight: 2 }
                           rewards { regex { pattern: "x" } weight: -0.5 }
                           rewards { regex { pattern: "1" } weight: 0.25 })");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(set->names(), ElementsAre("exact_match", "regex[1]", "regex[2]"));
  const auto result = set->Score(Finished("1x", "1x"));
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->parts, ElementsAre(1, 1, 1));
  EXPECT_EQ(result->score, 1.75);
}

TEST(RewardSetTest, NoRewards_ScoreIsZero) {
  const auto set = Make("");
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->Score(Finished("a", "a"))->score, 0);
}

TEST(RewardSetTest, BadSpec_NamesTheReward) {
  const auto bad_pattern =
      Make(std::string(kExact) + R"(rewards { regex { pattern: "(a" } weight: 1 })");
  EXPECT_EQ(bad_pattern.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad_pattern.status().message()),
              HasSubstr("rewards[1]: regex: pattern \"(a\": missing closing parenthesis"));
  EXPECT_THAT(std::string(Make("rewards { weight: 1 }").status().message()),
              HasSubstr("rewards[0]: no kind is set; expected one of exact_match, "));
}

TEST(RewardSetTest, RegexThatExplodes_PartIsZeroAndSaysSo) {
  const auto set =
      Make(std::string(kExact) + R"(rewards { regex { pattern: "(a+)+$" } weight: 2 })");
  const std::string text = std::string(60, 'a') + "b";
  const auto result = set->Score(Finished(text, text));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->parts, testing::ElementsAre(1, 0));
  EXPECT_THAT(result->gave_up, testing::ElementsAre(0, 1));
  EXPECT_EQ(result->score, 1);
  EXPECT_THAT(result->why, HasSubstr("rewards[1]: pattern \"(a+)+$\" gave up"));
  const auto easy = set->Score(Finished("aa", ""));
  ASSERT_TRUE(easy.ok()) << easy.status();
  EXPECT_THAT(easy->gave_up, testing::ElementsAre(0, 0));
  EXPECT_EQ(easy->score, 2);
  EXPECT_EQ(easy->why, "");
}

TEST(RewardSetTest, RegexOnBytesThatAreNotUtf8_Refused) {
  const auto set = Make(R"(rewards { regex { pattern: "a" } weight: 1 })");
  EXPECT_EQ(set->Score(Finished("\xff", "")).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::worker
