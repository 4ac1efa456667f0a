// Which bytes of the text each token covers.
#include <utility>
#include <vector>

#include "common/text/tokenizer.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"

namespace retort::text {
namespace {

using testing::ElementsAre;

std::vector<std::pair<int, int>> Pairs(const std::vector<ByteSpan>& spans) {
  std::vector<std::pair<int, int>> pairs;
  for (const ByteSpan& span : spans) pairs.emplace_back(span.begin, span.end);
  return pairs;
}

using P = std::pair<int, int>;

TEST(TokenizerSpansTest, ByteLevel_BytesOfTheText) {
  const auto encoding =
      MakeTokenizer(ByteLevelFile())->EncodeWithSpans("abab\xc3\xa4<eos> ab", true);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids, ElementsAre(258, 0xC3, 0xA4, 300, 257));
  EXPECT_THAT(Pairs(encoding->source_spans),
              ElementsAre(P(0, 4), P(4, 5), P(5, 6), P(6, 11), P(11, 14)));
  EXPECT_EQ(encoding->normalized_spans, encoding->source_spans);
}

// White space of any kind, as far as the token before it.
TEST(TokenizerSpansTest, StrippingAddedTokens_CoverTheWhiteSpaceBesideThem) {
  json file = ByteLevelFile();
  json left = SpecialToken(301, "<l>"), right = SpecialToken(302, "<r>");
  left["lstrip"] = true;
  right["rstrip"] = true;
  file["added_tokens"].push_back(left);
  file["added_tokens"].push_back(right);
  const auto tokenizer = MakeTokenizer(file);
  const auto encoding = tokenizer->EncodeWithSpans("ab <r> \n\u3000ab \u00a0<l> ab<r> <l>", false);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids, ElementsAre(256, ' ', 302, 256, 301, 257, 302, 301));
  EXPECT_THAT(Pairs(encoding->source_spans),
              ElementsAre(P(0, 2), P(2, 3), P(3, 11), P(11, 13), P(13, 19), P(19, 22), P(22, 26),
                          P(26, 29)));
  EXPECT_THAT(*tokenizer->Encode("<r> \t", false), ElementsAre(302));
  EXPECT_THAT(*tokenizer->Encode(" <l>", false), ElementsAre(301));
}

// Ids and offsets of Hugging Face's tokenizers 0.23.3.
TEST(TokenizerSpansTest, AddedTokenInWhiteSpaceThatAnotherTakes_IsThereToo) {
  json file = ByteLevelFile();
  json right = SpecialToken(302, "<r>");
  right["rstrip"] = true;
  file["added_tokens"].push_back(right);
  file["added_tokens"].push_back(SpecialToken(303, "  "));
  const auto encoding = MakeTokenizer(file)->EncodeWithSpans("<r>   ab<r>  b", false);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids, ElementsAre(302, 303, 257, 302, 303, 'b'));
  EXPECT_THAT(Pairs(encoding->source_spans),
              ElementsAre(P(0, 6), P(3, 5), P(5, 8), P(8, 13), P(11, 13), P(13, 14)));
}

TEST(TokenizerSpansTest, Composed_ChangeIsOneUnitOfTheSource) {
  json file = ByteLevelFile();
  file["normalizer"] = {{"type", "NFC"}};
  const auto encoding = MakeTokenizer(file)->EncodeWithSpans("ba\xcc\x88<eos>ab", false);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids, ElementsAre('b', 0xC3, 0xA4, 300, 256));
  EXPECT_THAT(Pairs(encoding->source_spans),
              ElementsAre(P(0, 1), P(1, 4), P(1, 4), P(4, 9), P(9, 11)));
  EXPECT_THAT(Pairs(encoding->normalized_spans),
              ElementsAre(P(0, 1), P(1, 2), P(2, 3), P(3, 8), P(8, 10)));
}

TEST(TokenizerSpansTest, PrefixSpace_CoversNothing) {
  json file = ByteLevelFile();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const auto encoding = MakeTokenizer(file)->EncodeWithSpans("ab<eos>1", false);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids, ElementsAre(257, 300, ' ', '1'));
  EXPECT_THAT(Pairs(encoding->source_spans), ElementsAre(P(0, 2), P(2, 7), P(7, 7), P(7, 8)));
  EXPECT_EQ(encoding->normalized_spans, encoding->source_spans);
}

TEST(TokenizerSpansTest, SentencePiece_CharactersOfTheText) {
  const auto encoding =
      MakeTokenizer(SentencePieceFile())->EncodeWithSpans("b a\xc3\xa4</s>\xe2\x96\x81z", true);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids,
              ElementsAre(1, 259, 261, 262, 3 + 0xC3, 3 + 0xA4, 2, 259, 259, 3 + 'z'));
  EXPECT_THAT(Pairs(encoding->source_spans),
              ElementsAre(P(0, 0), P(0, 0), P(0, 1), P(1, 3), P(3, 4), P(4, 5), P(5, 9), P(9, 9),
                          P(9, 12), P(12, 13)));
  EXPECT_EQ(encoding->normalized_spans, encoding->source_spans);
}

TEST(TokenizerSpansTest, TokensOfTheTemplate_EmptyWhereTheyStand) {
  json file = SentencePieceFile();
  file["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "<s>"}}}});
  const auto encoding = MakeTokenizer(file)->EncodeWithSpans("a", true);
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_THAT(encoding->ids, ElementsAre(1, 262, 1));
  EXPECT_THAT(Pairs(encoding->source_spans), ElementsAre(P(0, 0), P(0, 1), P(1, 1)));
  EXPECT_THAT(Pairs(encoding->normalized_spans), ElementsAre(P(0, 0), P(0, 1), P(0, 0)));
}

}  // namespace
}  // namespace retort::text
