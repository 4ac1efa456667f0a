#include "common/text/split_scanner.h"

#include <cctype>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/base/utf8.h"
#include "common/text/char_class.h"
#include "common/text/pattern.h"
#include "common/text/random_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::text {

void PrintTo(const Word& word, std::ostream* out) {
  *out << "[" << word.begin << "," << word.end << ")";
}

namespace {

using testing::ElementsAre;

std::vector<std::string> Scanned(absl::string_view name, absl::string_view text) {
  const SplitScanner scanner = FindSplitScanner(PatternNamed(name));
  std::vector<Word> words;
  scanner(text, {0, static_cast<uint32_t>(text.size())}, &words);
  std::vector<std::string> parts;
  for (const Word& word : words) {
    parts.emplace_back(text.substr(word.begin, word.end - word.begin));
  }
  return parts;
}

// The matches of the regex and the gaps between them, by PCRE2.
std::vector<Word> MatchedByRegex(const Pattern& pattern, absl::string_view text) {
  std::vector<Word> words;
  const auto add = [&](size_t begin, size_t end) {
    if (begin < end) words.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  };
  size_t done = 0;
  while (done < text.size()) {
    const auto match = pattern.Find(text, done);
    EXPECT_TRUE(match.ok()) << match.status();
    if (!match.ok() || !match->has_value()) break;
    add(done, (*match)->begin);
    add((*match)->begin, (*match)->end);
    done = (*match)->end;
  }
  add(done, text.size());
  return words;
}

// Whether PCRE2's tables give the character the class that ours do. Unicode versions differ in
// characters that one of them does not know yet.
class ClassJudge {
 public:
  ClassJudge() {
    for (const char* set : {"[\\p{Lu}\\p{Lt}]", "\\p{Ll}", "[\\p{Lm}\\p{Lo}]", "\\p{M}", "\\p{N}",
                            "[\\p{P}\\p{S}]", "\\s"}) {
      patterns_.push_back(*Pattern::Compile(set));
    }
  }
  bool Agrees(char32_t c) const {
    std::string text;
    AppendUtf8(c, &text);
    const uint8_t classes = CharClassTable::Of(c);
    for (size_t i = 0; i < patterns_.size(); ++i) {
      const auto match = patterns_[i].Find(text, 0);
      if (match->has_value() != ((classes >> i & 1) != 0)) return false;
    }
    return true;
  }

 private:
  std::vector<Pattern> patterns_;  // By bit of CharClass.
};

TEST(CharClassTest, EveryCharacter_SameAsRegexUnlessOneTableIsOlder) {
  const ClassJudge judge;
  int differ = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    if (judge.Agrees(c)) continue;
    ++differ;
    EXPECT_GT(c, 0x700u) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
  std::cout << differ << " characters are in one table only\n";
  EXPECT_LT(differ, 10'000);
}

TEST(CharClassTableTest, At_EveryLength_ClassAndBytes) {
  const CharClassTable& table = CharClassTable::Get();
  const struct {
    const char* text;
    uint8_t classes;
    uint8_t bytes;
  } cases[] = {{"a", kLower, 1},
               {"\n", kSpace | kLineBreak, 1},
               {"\xc3\x84", kUpper, 2},
               {"\xe6\x97\xa5", kOtherLetter, 3},
               {"\xe3\x80\x80", kSpace, 3},
               {"\xf0\x9f\x98\x80", kSymbol, 4},
               {"\xf0\x90\x90\x80", kUpper, 4}};
  for (const auto& c : cases) {
    EXPECT_EQ(table.At(c.text).classes, c.classes) << c.text;
    EXPECT_EQ(table.At(c.text).bytes, c.bytes) << c.text;
  }
}

TEST(SplitScannerTest, UnknownPattern_NoScanner) {
  EXPECT_EQ(FindSplitScanner("\\p{N}{1,2}"), nullptr);
  EXPECT_EQ(FindSplitScanner(std::string(kGpt2Pattern) + " "), nullptr);
}

TEST(SplitScannerTest, SpecificTexts_CutAsTheirPatternSays) {
  EXPECT_THAT(Scanned("gpt2", "it's  12 a"), ElementsAre("it", "'s", " ", " 12", " a"));
  EXPECT_THAT(Scanned("llama3", "IT'S 12345\n\n x"),
              ElementsAre("IT", "'S", " ", "123", "45", "\n\n", " x"));
  EXPECT_THAT(Scanned("qwen2", "12 \t\n b"), ElementsAre("1", "2", " \t\n", " b"));
  EXPECT_THAT(Scanned("gpt-oss", "HELLOWorld's /// x"), ElementsAre("HELLOWorld's", " ///", " x"));
  EXPECT_THAT(Scanned("deepseek-v3 words", "a=b\x01(c"), ElementsAre("a", "=b", "\x01", "(c"));
}

// The piece's border is the end of the text for (?!\S).
TEST(SplitScannerTest, PieceOfAText_SeesNothingBehindIt) {
  std::vector<Word> words;
  FindSplitScanner(PatternNamed("qwen2"))("a  b", {1, 3}, &words);
  EXPECT_THAT(words, ElementsAre(Word{1, 3}));
}

class KnownPatternTest : public testing::TestWithParam<KnownPattern> {};

TEST_P(KnownPatternTest, RandomTexts_SameWordsAsTheRegex) {
  const auto pattern = Pattern::Compile(GetParam().pattern);
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  const ClassJudge judge;
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  int checked = 0;
  for (uint64_t round = 0; round < 20'000; ++round) {
    CounterRng rng(seed, RngPurpose::kData, round);
    const std::string text = RandomText(rng, 30);
    bool known = true;
    for (size_t i = 0; i < text.size() && known; i += CharacterBytes(text[i])) {
      const char32_t c = CodePoint(absl::string_view(text).substr(i));
      known = c < 0x80 || judge.Agrees(c);
    }
    if (!known) continue;
    ++checked;
    std::vector<Word> words;
    GetParam().scanner(text, {0, static_cast<uint32_t>(text.size())}, &words);
    ASSERT_EQ(words, MatchedByRegex(*pattern, text))
        << "seed " << seed << " round " << round << ": " << testing::PrintToString(text);
  }
  EXPECT_GT(checked, 10'000);
}

INSTANTIATE_TEST_SUITE_P(Patterns, KnownPatternTest, testing::ValuesIn(KnownPatterns()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           for (char& c : name) c = std::isalnum(c) ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace retort::text
