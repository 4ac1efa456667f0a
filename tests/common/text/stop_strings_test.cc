#include "common/text/stop_strings.h"

#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

struct Outcome {
  std::string text;
  bool stopped = false;

  bool operator==(const Outcome&) const = default;
};

Outcome Scan(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopScanner scanner(stops);
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += scanner.Push(piece);
  outcome.text += scanner.Finish();
  outcome.stopped = scanner.stopped();
  return outcome;
}

TEST(StopStringsTest, EachText_IsCutBeforeTheFirstStop) {
  struct Case {
    std::vector<std::string> stops;
    std::string text;
    Outcome want;
  };
  const Case cases[] = {
      {{}, "abc", {"abc", false}},
      {{"END"}, "abc", {"abc", false}},
      {{"END"}, "abENDcEND", {"ab", true}},
      {{"END"}, "EEND", {"E", true}},
      {{"END"}, "ENEN", {"ENEN", false}},
      {{"b", "abc"}, "xabc", {"xa", true}},       // "b" is complete first.
      {{"bc", "abc", "c"}, "xabc", {"x", true}},  // They end together: the longest.
      {{"\n\n"}, "a\n\nb", {"a", true}},
      {{"é"}, "caf\xC3\xA9s", {"caf", true}},
  };
  for (const Case& c : cases) EXPECT_EQ(Scan(c.stops, {c.text}), c.want) << c.text;
}

TEST(StopStringsTest, Push_PossibleBeginning_IsHeldBack) {
  StopScanner scanner({"STOP", "OVER"});
  EXPECT_EQ(scanner.Push("go ST"), "go ");
  EXPECT_EQ(scanner.Push("O"), "");
  EXPECT_EQ(scanner.Push("V"), "ST");  // "OV" may become OVER.
  EXPECT_EQ(scanner.Push("al"), "OVal");
  EXPECT_EQ(scanner.Push("STOP it"), "");
  EXPECT_TRUE(scanner.stopped());
  EXPECT_EQ(scanner.Push("more"), "");
  EXPECT_EQ(scanner.Finish(), "");
}

TEST(StopStringsTest, AnyPieces_SameOutcome) {
  CounterRng rng(3, RngPurpose::kData, 0);
  const std::vector<std::string> stops = {"aab", "ba", "bbbb"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint64_t i = rng.NextBelow(20); i > 0; --i) text += rng.NextBelow(3) == 0 ? "b" : "a";
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + rng.NextBelow(4);
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    EXPECT_EQ(Scan(stops, pieces), Scan(stops, {text})) << text;
  }
}

}  // namespace
}  // namespace retort::text
