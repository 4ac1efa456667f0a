#include "common/text/pattern.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

using testing::HasSubstr;

// The match as text, "-" for none.
std::string Match(absl::string_view pattern, absl::string_view text) {
  const auto compiled = Pattern::Compile(pattern);
  if (!compiled.ok()) return std::string(compiled.status().message());
  const auto match = compiled->Find(text, 0);
  if (!match.ok()) return std::string(match.status().message());
  if (!match->has_value()) return "-";
  return std::string(text.substr((*match)->begin, (*match)->end - (*match)->begin));
}

TEST(PatternTest, Space_IsUnicodeWhiteSpace) {
  EXPECT_EQ(Match("\\s+", "a\xc2\x85\xe3\x80\x80z"), "\xc2\x85\xe3\x80\x80");
  EXPECT_EQ(Match("\\s", "\xe1\xa0\x8e"), "-");  // U+180E
  EXPECT_EQ(Match("\\s", "\x1c"), "-");
  EXPECT_EQ(Match("[^\\sa]+", "a b\xe1\xa0\x8e"), "b\xe1\xa0\x8e");
  EXPECT_EQ(Match("[\\Sx]+", " ab "), "ab");
  EXPECT_EQ(Match("\\S+", "\t\xe2\x80\x8b"), "\xe2\x80\x8b");  // U+200B is not a space.
}

TEST(PatternTest, SpaceRewriting_LeavesOtherSyntaxAlone) {
  EXPECT_EQ(Match("\\\\s", "a\\s"), "\\s");
  EXPECT_EQ(Match("[]\\s]+", "a] ]"), "] ]");
  EXPECT_EQ(Match("[[:digit:]\\s]+", "a1 2b"), "1 2");
  EXPECT_EQ(Match("\\Q\\s\\E\\s", "\\s \\s"), "\\s ");
  EXPECT_EQ(Match("\\Qa\\E\\s", "a\xe1\xa0\x8e"), "-");
}

TEST(PatternTest, FoldedCase_IsSimpleUnicodeFolding) {
  EXPECT_EQ(Match("(?i:'s)", "x'\xc5\xbf"), "'\xc5\xbf");
}

TEST(PatternTest, Alternatives_InOrderNotLongest) { EXPECT_EQ(Match("a|ab", "ab"), "a"); }

TEST(PatternTest, Find_StartsAtFromButLooksBehind) {
  const auto pattern = Pattern::Compile("(?<=a)b");
  const auto match = pattern->Find("ab", 1);
  ASSERT_TRUE(match.ok() && match->has_value());
  EXPECT_EQ((*match)->begin, 1);
}

TEST(PatternTest, BadPattern_SaysWhatAndWhere) {
  EXPECT_THAT(Match("(a", ""), HasSubstr("pattern \"(a\": missing closing parenthesis"));
  EXPECT_THAT(Match(std::string(1000, '('), ""), HasSubstr("nested"));
  EXPECT_THAT(Match(std::string(100'000, 'a'), ""), HasSubstr("at most 65536"));
}

TEST(PatternTest, EndlessBacktracking_GivesUp) {
  EXPECT_THAT(Match("(a+)+$", std::string(60, 'a') + "b"), HasSubstr("less backtracking"));
  EXPECT_THAT(Match("(?:a|ab)(?R)?c", std::string(1'000'000, 'a')), HasSubstr("gave up"));
}

// Each place alone costs little; all of them together the square of the text.
TEST(PatternTest, QuadraticWork_EndsWithTheBudgetOfTheText) {
  const auto fast = Pattern::Compile("a+[bc]");
  const auto repeats = Pattern::Compile("a{9999}b|a");
  ASSERT_TRUE(fast.ok() && repeats.ok());
  const std::string text = std::string(100'000, 'a') + "d";
  const auto match = fast->Find(text, 0);
  EXPECT_EQ(match.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(match.status().message()),
              HasSubstr("gave up at byte 0 of a text of 100001 bytes: too much work"));
  MatchBudget budget(/*text_bytes=*/1000);
  absl::Status status;
  size_t from = 0;
  while (status.ok() && from < text.size()) {
    status = repeats->Find(text, from++, &budget).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(PatternTest, Reproducible_SameMatchesAndLimits) {
  const auto pattern = Pattern::Compile("(a+)+$", PatternMatcher::kReproducible);
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  const auto match = pattern->Find("baa", 0);
  ASSERT_TRUE(match.ok() && match->has_value());
  EXPECT_EQ((*match)->begin, 1);
  EXPECT_EQ((*match)->end, 3);
  EXPECT_EQ(pattern->Find(std::string(60, 'a') + "b", 0).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace retort::text
