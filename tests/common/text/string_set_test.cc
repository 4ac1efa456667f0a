#include "common/text/string_set.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

StringSet Set(std::vector<std::pair<std::string, int32_t>> strings) {
  return StringSet(std::move(strings));
}

std::string Hit(const StringSet& set, absl::string_view text, size_t from = 0) {
  const auto hit = set.FindFrom(text, from);
  if (!hit) return "-";
  return std::to_string(hit->id) + "@" + std::to_string(hit->begin) + ".." +
         std::to_string(hit->end);
}

TEST(StringSetTest, FindFrom_LeftmostThenLongest) {
  const StringSet set = Set({{"<a", 1}, {"<a>", 2}, {"a>b", 3}, {"<aa>>", 4}});
  EXPECT_EQ(Hit(set, "x<a>b"), "2@1..4");
  EXPECT_EQ(Hit(set, "x<aa>"), "1@1..3");
  EXPECT_EQ(Hit(set, "<a>b", 1), "3@1..4");
  EXPECT_EQ(Hit(set, "<"), "-");
  EXPECT_EQ(Hit(set, "", 0), "-");
  EXPECT_EQ(Hit(StringSet(), "a"), "-");
}

TEST(StringSetTest, OneFirstByte_FoundTheSame) {
  const StringSet set = Set({{"<a>", 1}, {"<b>", 2}});
  EXPECT_EQ(Hit(set, "<<<b>"), "2@2..5");
  EXPECT_EQ(Hit(set, "a<b"), "-");
}

TEST(StringSetTest, RandomSets_SameAsSearchingEach) {
  for (uint64_t round = 0; round < 2000; ++round) {
    CounterRng rng(2, RngPurpose::kData, round);
    const auto word = [&](uint64_t most) {
      std::string out(1 + rng.NextBelow(most), 'a');
      for (char& c : out) c = static_cast<char>('a' + rng.NextBelow(3));
      return out;
    };
    std::map<std::string, int32_t> strings;
    for (int32_t id = 0; id < 5; ++id) strings.try_emplace(word(4), id);
    const StringSet set = Set({strings.begin(), strings.end()});
    const std::string text = word(12);
    std::string want = "-";
    for (size_t at = 0; at < text.size() && want == "-"; ++at) {
      for (const auto& [string, id] : strings) {  // A longer one with the same front comes later.
        if (text.compare(at, string.size(), string) != 0) continue;
        want = std::to_string(id) + "@" + std::to_string(at) + ".." +
               std::to_string(at + string.size());
      }
    }
    ASSERT_EQ(Hit(set, text), want) << "round " << round << " " << text;
  }
}

}  // namespace
}  // namespace retort::text
