#include "common/text/word_merger.h"

#include <algorithm>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "common/text/merge_cuts.h"
#include "gtest/gtest.h"

namespace retort::text {

void PrintTo(const Token& token, std::ostream* out) { *out << token.id << "/" << token.bytes; }

namespace {

// Random merges of letters a..d and of what they make; ids are indices into `pieces`.
struct RandomModel {
  std::vector<std::string> pieces = {"a", "b", "c", "d"};
  std::vector<std::pair<int, int>> merges;  // By rank.
  MergeTable table{200};
  MergeCuts cuts;

  RandomModel(CounterRng& rng, int count) {
    while (count-- > 0) {
      const int left = static_cast<int>(rng.NextBelow(pieces.size()));
      const int right = static_cast<int>(rng.NextBelow(pieces.size()));
      const std::pair<int, int> pair(left, right);
      if (std::find(merges.begin(), merges.end(), pair) != merges.end()) continue;
      const std::string made = pieces[left] + pieces[right];
      size_t id = std::find(pieces.begin(), pieces.end(), made) - pieces.begin();
      if (id == pieces.size()) pieces.push_back(made);
      table.Add(left, right, {static_cast<int32_t>(merges.size()), static_cast<int32_t>(id)});
      merges.push_back(pair);
      cuts.Add(made);
    }
  }

  std::vector<Token> Symbols(const std::string& word) const {
    std::vector<Token> symbols;
    for (const char c : word) symbols.push_back({c - 'a', 1});
    return symbols;
  }

  // What the definition says, by looking for every rank in turn.
  std::vector<Token> Naive(const std::string& word) const {
    std::vector<Token> symbols = Symbols(word);
    while (true) {
      int best_rank = -1;
      size_t best = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto it = std::find(merges.begin(), merges.end(),
                                  std::pair<int, int>(symbols[i].id, symbols[i + 1].id));
        if (it == merges.end()) continue;
        const int rank = static_cast<int>(it - merges.begin());
        if (best_rank >= 0 && rank >= best_rank) continue;
        best_rank = rank;
        best = i;
      }
      if (best_rank < 0) return symbols;
      const std::string made = pieces[symbols[best].id] + pieces[symbols[best + 1].id];
      const auto id = std::find(pieces.begin(), pieces.end(), made) - pieces.begin();
      symbols[best] = {static_cast<int32_t>(id), symbols[best].bytes + symbols[best + 1].bytes};
      symbols.erase(symbols.begin() + best + 1);
    }
  }

  std::vector<Token> Merged(const std::string& word) const {
    std::vector<Token> symbols = Symbols(word), tokens;
    MergeSymbols(table, absl::MakeSpan(symbols), &tokens);
    return tokens;
  }
};

std::string RandomWord(CounterRng& rng, uint64_t most) {
  std::string word(1 + rng.NextBelow(most), 'a');
  for (char& c : word) c = static_cast<char>('a' + rng.NextBelow(4));
  return word;
}

TEST(WordMergerTest, RandomModels_SameAsTheDefinition) {
  for (uint64_t round = 0; round < 300; ++round) {
    CounterRng rng(3, RngPurpose::kData, round);
    const RandomModel model(rng, 30);
    for (const uint64_t most : {10, 40, 200}) {  // Both ways of merging.
      const std::string word = RandomWord(rng, most);
      ASSERT_EQ(model.Merged(word), model.Naive(word)) << "round " << round << " " << word;
    }
  }
}

TEST(MergeCutsTest, RandomModels_PartsAloneMergeLikeTheWhole) {
  int cut = 0;
  for (uint64_t round = 0; round < 500; ++round) {
    CounterRng rng(4, RngPurpose::kData, round);
    const RandomModel model(rng, static_cast<int>(1 + rng.NextBelow(8)));
    const std::string word = RandomWord(rng, 60);
    std::vector<Token> tokens;
    for (size_t begin = 0; begin < word.size();) {
      const size_t end = model.cuts.PartEnd(word, begin);
      ASSERT_GT(end, begin);
      for (const Token& token : model.Merged(word.substr(begin, end - begin))) {
        tokens.push_back(token);
      }
      cut += end < word.size();
      begin = end;
    }
    ASSERT_EQ(tokens, model.Naive(word)) << "round " << round << " " << word;
  }
  EXPECT_GT(cut, 1000);
}

TEST(MergeCutsTest, TokensThatEndInsideACharacter_JoinEveryCharacterThatMayFollow) {
  MergeCuts cuts;
  cuts.Add("a\xc3");          // "a" and the first byte of U+00C0 to U+00FF.
  cuts.Add("\xa4z");          // The last byte of U+00E4, and others, and "z".
  cuts.Add("\xe6\x97\xa5!");  // A whole character.
  EXPECT_EQ(cuts.PartEnd("a\xc3\xa4", 0), 3u);
  EXPECT_EQ(cuts.PartEnd("a\xc3\xb6", 0), 3u);
  EXPECT_EQ(cuts.PartEnd("b\xc3\xa4", 0), 1u);
  EXPECT_EQ(cuts.PartEnd("\xc3\xa4z", 0), 3u);
  EXPECT_EQ(cuts.PartEnd("\xe6\x97\xa5!", 0), 4u);
  EXPECT_EQ(cuts.PartEnd("\xe6\x97\xa6!", 0), 3u);
}

}  // namespace
}  // namespace retort::text
