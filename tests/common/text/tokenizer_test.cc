#include "common/text/tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "common/base/file.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"

namespace retort::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int64_t> Ids(const Tokenizer& tokenizer, absl::string_view text, bool special = false) {
  const auto ids = tokenizer.Encode(text, special);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  return ids.value_or(std::vector<int64_t>());
}

std::string Text(const Tokenizer& tokenizer, std::vector<int64_t> ids, bool skip = true) {
  const auto text = tokenizer.Decode(ids, skip);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return text.value_or("");
}

TEST(TokenizerTest, EncodeByteLevel_LowestRankMergesFirst) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  EXPECT_THAT(Ids(*tokenizer, "ab"), ElementsAre(256));
  EXPECT_THAT(Ids(*tokenizer, "abab"), ElementsAre(258));
  EXPECT_THAT(Ids(*tokenizer, " ab"), ElementsAre(257));
  EXPECT_THAT(Ids(*tokenizer, "aab"), ElementsAre('a', 256));
  EXPECT_THAT(Ids(*tokenizer, ""), ElementsAre());
}

TEST(TokenizerTest, EncodeEqualRanks_LeftmostFirst) {
  json file = ByteLevelFile();
  file["model"]["vocab"]["zz"] = 259;
  file["model"]["merges"].push_back("z z");
  EXPECT_THAT(Ids(*MakeTokenizer(file), "zzz"), ElementsAre(259, 'z'));
}

// Once "qr" is one token, the candidate "p q" is stale: it must not stand for "p qr", whose rank is
// worse.
TEST(TokenizerTest, EncodeStaleCandidate_DoesNotJumpTheQueue) {
  json file = ByteLevelFile();
  int id = 259;
  for (const char* piece : {"qr", "pq", "qrs", "pqr"}) file["model"]["vocab"][piece] = id++;
  file["model"]["merges"] = {"q r", "p q", "qr s", "p qr"};
  EXPECT_THAT(Ids(*MakeTokenizer(file), "pqrs"), ElementsAre('p', 261));
}

TEST(TokenizerTest, EncodeByteLevel_WordsNeverMerge) {
  // The words are "ab", " ab": without cutting, "ab ab" would offer other merges.
  EXPECT_THAT(Ids(*MakeTokenizer(ByteLevelFile()), "ab ab1ab"), ElementsAre(256, 257, '1', 256));
}

TEST(TokenizerTest, EncodeByteLevel_AnyBytesRoundTrip) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  const std::string text = "\t\xc3\xa4 \xe6\x97\xa5\xf0\x9f\x98\x80'll \xe2\x80\xa8  x\n";
  EXPECT_EQ(Text(*tokenizer, Ids(*tokenizer, text)), text);
}

TEST(TokenizerTest, EncodeWithPrefixSpace_AddedOncePerPieceOfText) {
  json file = ByteLevelFile();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const auto tokenizer = MakeTokenizer(file);
  EXPECT_THAT(Ids(*tokenizer, "ab"), ElementsAre(257));
  EXPECT_THAT(Ids(*tokenizer, " ab<eos>ab"), ElementsAre(257, 300, 257));
}

TEST(TokenizerTest, EncodeAddedToken_CutOutBeforeEverythingElse) {
  EXPECT_THAT(Ids(*MakeTokenizer(ByteLevelFile()), "ab<eos>ab<eos"),
              ElementsAre(256, 300, 256, '<', 'e', 'o', 's'));
}

TEST(TokenizerTest, EncodeAddedTokens_LeftmostThenLongest) {
  json file = ByteLevelFile();
  file["added_tokens"].push_back(SpecialToken(301, "<e"));
  file["added_tokens"].push_back(SpecialToken(302, "s>x"));
  EXPECT_THAT(Ids(*MakeTokenizer(file), "<eos>x<e"), ElementsAre(300, 'x', 301));
}

TEST(TokenizerTest, EncodeNormalizedAddedToken_FoundInNormalizedTextOnly) {
  json file = ByteLevelFile();
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "x"}}}, {"content", "y"}};
  file["added_tokens"].push_back(
      {{"id", 301}, {"content", "<x>"}, {"special", false}, {"normalized", true}});
  const auto tokenizer = MakeTokenizer(file);
  EXPECT_THAT(Ids(*tokenizer, "<x>"), ElementsAre(301));
  EXPECT_THAT(Ids(*tokenizer, "<y>"), ElementsAre(301));
}

TEST(TokenizerTest, EncodeIgnoreMerges_WholeWordIsOneToken) {
  json file = ByteLevelFile();
  file["model"]["vocab"]["zz"] = 259;
  EXPECT_THAT(Ids(*MakeTokenizer(file), "zz"), ElementsAre('z', 'z'));
  file["model"]["ignore_merges"] = true;
  EXPECT_THAT(Ids(*MakeTokenizer(file), "zz zzz"), ElementsAre(259, ' ', 'z', 'z', 'z'));
}

TEST(TokenizerTest, EncodeSentencePiece_PrefixSpacesAndTemplate) {
  const auto tokenizer = MakeTokenizer(SentencePieceFile());
  EXPECT_THAT(Ids(*tokenizer, "ab"), ElementsAre(262, 261));  // "▁a" has the lower rank.
  EXPECT_THAT(Ids(*tokenizer, "b a", true), ElementsAre(1, 259, 261, 262));
  EXPECT_THAT(Ids(*tokenizer, "", true), ElementsAre(1));
}

TEST(TokenizerTest, EncodeSentencePiece_UnknownCharactersFallBackToBytes) {
  EXPECT_THAT(Ids(*MakeTokenizer(SentencePieceFile()), "\xc3\xa4"),
              ElementsAre(259, 3 + 0xC3, 3 + 0xA4));
}

TEST(TokenizerTest, EncodeUnknownWithoutFallback_FusedOrOneEach) {
  json file = SentencePieceFile();
  file["model"]["byte_fallback"] = false;
  EXPECT_THAT(Ids(*MakeTokenizer(file), "xyb"), ElementsAre(259, 0, 261));
  file["model"]["fuse_unk"] = false;
  EXPECT_THAT(Ids(*MakeTokenizer(file), "xyb"), ElementsAre(259, 0, 0, 261));
}

TEST(TokenizerTest, EncodeUnspellableCharacter_Named) {
  json file = SentencePieceFile();
  file["model"]["byte_fallback"] = false;
  file["model"]["unk_token"] = nullptr;
  const auto ids = MakeTokenizer(file)->Encode("a\xc3\xa4", false);
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("'\xc3\xa4' (U+00E4)"));
}

TEST(TokenizerTest, EncodeNotUtf8_RefusedWithByte) {
  EXPECT_EQ(MakeTokenizer(ByteLevelFile())->Encode("ab\xff", false).status().message(),
            "text is not UTF-8 at byte 2");
}

TEST(TokenizerTest, DecodeByteLevel_InvalidBytesBecomeReplacementCharacters) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  EXPECT_EQ(Text(*tokenizer, {0xF0, 0x9F, 'a', 0xC3}),
            "\xef\xbf\xbd"
            "a"
            "\xef\xbf\xbd");
  EXPECT_EQ(Text(*tokenizer, {0xFF, 0xFE}), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(TokenizerTest, DecodeSpecialTokens_SkippedOnRequest) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  EXPECT_EQ(Text(*tokenizer, {256, 300}, true), "ab");
  EXPECT_EQ(Text(*tokenizer, {256, 300}, false), "ab<eos>");
}

TEST(TokenizerTest, DecodeSentencePiece_OneLeadingSpaceStripped) {
  const auto tokenizer = MakeTokenizer(SentencePieceFile());
  EXPECT_EQ(Text(*tokenizer, {1, 262, 259, 259, 261}), "a  b");
  EXPECT_EQ(Text(*tokenizer, {259, 262}), " a");
}

TEST(TokenizerTest, DecodeByteFallback_RunIsTextOrAllReplacements) {
  const auto tokenizer = MakeTokenizer(SentencePieceFile());
  EXPECT_EQ(Text(*tokenizer, {260, 3 + 0xC3, 3 + 0xA4, 261}),
            "a\xc3\xa4"
            "b");
  EXPECT_EQ(Text(*tokenizer, {3 + 0xC3, 3 + 0xA4, 3 + 0xC3}),
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(TokenizerTest, DecodeIdWithoutToken_NamesIt) {
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  for (const int64_t id : {int64_t{-1}, int64_t{270}, int64_t{301}, int64_t{1} << 40}) {
    const auto text = tokenizer->Decode({id}, true);
    EXPECT_THAT(std::string(text.status().message()),
                HasSubstr(absl::StrCat("token id ", id, " ")));
  }
}

TEST(TokenizerTest, NamedTokens_FromTokenizerConfig) {
  const auto tokenizer =
      MakeTokenizer(SentencePieceFile(),
                    R"({"bos_token":{"content":"<s>"},"eos_token":"</s>","pad_token":null})");
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer->vocab_size(), 264);
  EXPECT_EQ(tokenizer->IdOf("ab"), 263);
  EXPECT_EQ(tokenizer->IdOf("abc"), std::nullopt);
}

TEST(TokenizerTest, NamedTokenThatIsNotThere_Refused) {
  EXPECT_EQ(LoadError(ByteLevelFile(), R"({"eos_token":"</s>"})"),
            "m/tokenizer_config.json.eos_token is \"</s>\", which tokenizer.json lacks");
}

TEST(TokenizerTest, Digest_ChangesWithEitherFile) {
  const auto plain = MakeTokenizer(ByteLevelFile())->digest();
  EXPECT_EQ(plain, MakeTokenizer(ByteLevelFile())->digest());
  EXPECT_FALSE(plain == MakeTokenizer(ByteLevelFile(), R"({"eos_token":"<eos>"})")->digest());
  EXPECT_FALSE(plain == MakeTokenizer(SentencePieceFile())->digest());
}

TEST(TokenizerTest, EncodeLongWord_SameWithIgnoredMerges) {
  json file = ByteLevelFile();
  const std::string word(40, 'z');
  file["model"]["vocab"][word] = 259;
  file["model"]["ignore_merges"] = true;
  EXPECT_THAT(Ids(*MakeTokenizer(file), word), ElementsAre(259));
  EXPECT_EQ(Ids(*MakeTokenizer(file), word + "z").size(), 41u);
}

// "zz" alone is one token because merges are ignored for a whole word; as a part of a longer word
// it is not, and the one must not be taken for the other when words are remembered.
TEST(TokenizerTest, EncodeIgnoreMergesPartOfALongWord_NotMistakenForTheWord) {
  json file = ByteLevelFile();
  file["model"]["vocab"]["zz"] = 259;
  file["model"]["ignore_merges"] = true;
  // A token that keeps two z together, so that they are one part.
  file["model"]["vocab"]["xz"] = 260;
  file["model"]["vocab"]["zq"] = 261;
  file["model"]["vocab"]["xzzq"] = 262;
  for (const char* merge : {"x z", "z q", "xz zq"}) file["model"]["merges"].push_back(merge);
  const auto tokenizer = MakeTokenizer(file);
  EXPECT_THAT(Ids(*tokenizer, "z"), ElementsAre('z'));
  EXPECT_THAT(Ids(*tokenizer, "zz"), ElementsAre(259));
  const std::string longer = std::string(30, 'w') + "zz";
  EXPECT_EQ(Ids(*tokenizer, longer).back(), 'z');
  EXPECT_THAT(Ids(*tokenizer, "zz"), ElementsAre(259));
}

// The tokens of the bytes of U+00E4 merge here, although no merge spells it.
TEST(TokenizerTest, EncodeByteTokensThatMerge_InLongTextsToo) {
  json file = SentencePieceFile();
  file["model"]["vocab"]["<0xC3><0xA4>"] = 264;
  file["model"]["merges"].push_back({"<0xC3>", "<0xA4>"});
  const auto tokenizer = MakeTokenizer(file);
  EXPECT_EQ(Ids(*tokenizer, "\xc3\xa4").back(), 264);
  EXPECT_EQ(Ids(*tokenizer, std::string(40, 'b') + "\xc3\xa4").back(), 264);
}

TEST(TokenizerTest, EncodeUnknownsInLongTexts_FusedAcrossAll) {
  json file = SentencePieceFile();
  file["model"]["byte_fallback"] = false;
  EXPECT_THAT(Ids(*MakeTokenizer(file), std::string(100, 'x')), ElementsAre(259, 0));
}

TEST(TokenizerTest, EncodeManyWords_RememberedOnesStayRight) {
  // More words than are remembered, twice, against a tokenizer that never saw them.
  const auto tokenizer = MakeTokenizer(ByteLevelFile());
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 150'000; i += 37) {
      const std::string word = absl::StrCat("ab", i, "abab");
      const auto ids = Ids(*tokenizer, word);
      ASSERT_EQ(ids.front(), 256) << word;
      ASSERT_EQ(ids.back(), 258) << word;
      ASSERT_EQ(ids.size(), 2 + absl::StrCat(i).size()) << word;
    }
  }
}

TEST(TokenizerTest, EncodeSingleWordToken_NotBesideWordCharacters) {
  json file = ByteLevelFile();
  file["added_tokens"][0]["single_word"] = true;
  file["added_tokens"][0]["content"] = "ab";
  file["added_tokens"][0]["id"] = 256;
  file["added_tokens"].push_back(SpecialToken(300, "abc"));
  file["added_tokens"][1]["single_word"] = true;
  const auto tokenizer = MakeTokenizer(file);
  // As tokenizers 0.23.3 has it: a token that is not allowed leaves no room for a shorter one.
  EXPECT_THAT(*tokenizer->Encode("abc-abc", false), ElementsAre(300, '-', 300));
  EXPECT_THAT(*tokenizer->Encode("abc1", false), ElementsAre(256, 'c', '1'));
  EXPECT_THAT(*tokenizer->Encode("_abc", false), ElementsAre('_', 256, 'c'));
  EXPECT_THAT(*tokenizer->Encode("(abc)\xe2\x82\xac", false),
              ElementsAre('(', 300, ')', 0xE2, 0x82, 0xAC));
  EXPECT_THAT(*tokenizer->Encode("\xc3\xa9"
                                 "abc",
                                 false),
              ElementsAre(0xC3, 0xA9, 256, 'c'));
}

// As Hugging Face's tokenizers have it: an empty match cuts, except right behind a match.
TEST(TokenizerTest, EncodeSplit_EmptyMatch_Cuts) {
  const struct {
    const char *pattern, *behavior;
    std::vector<int64_t> ids;  // Of "abab".
  } cases[] = {
      {"(?=[b])", "Isolated", {'a', 'b', 'a', 'b'}},
      {"(?<=b)", "MergedWithPrevious", {256, 256}},
      {"(?=aba)|$", "Isolated", {258}},
      {"b|", "Isolated", {'a', 'b', 'a', 'b'}},
      {"x*", "Isolated", {'a', 'b', 'a', 'b'}},
  };
  for (const auto& c : cases) {
    json file = ByteLevelFile();
    file["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"behavior", c.behavior}, {"pattern", {{"Regex", c.pattern}}}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    EXPECT_EQ(*MakeTokenizer(file)->Encode("abab", false), c.ids) << c.pattern;
  }
}

TEST(TokenizerTest, EncodePatternThatGivesUp_NamesTheByteOfTheText) {
  json file = ByteLevelFile();
  file["normalizer"] = {{"type", "Prepend"}, {"prepend", "__"}};
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "_|,|(a+)+$"}}}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const std::string text = "<eos>,," + std::string(60, 'a') + "b";
  const absl::Status status = MakeTokenizer(file)->Encode(text, false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("text at byte 7: pattern "));
}

TEST(TokenizerTest, EncodeUnspellableCharacter_NamesTheByteOfTheText) {
  json file = SentencePieceFile();
  file["model"]["byte_fallback"] = false;
  file["model"]["unk_token"] = nullptr;
  const absl::Status status = MakeTokenizer(file)->Encode("</s>a x", false).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("text at byte 4: "));
}

TEST(TokenizerTest, TokenBytes_WhatAnIdStandsFor) {
  const auto bytes = MakeTokenizer(ByteLevelFile());
  EXPECT_EQ(*bytes->TokenBytes(257), " ab");
  EXPECT_EQ(*bytes->TokenBytes(0xC3), "\xc3");
  EXPECT_EQ(*bytes->TokenBytes(300), "<eos>");
  const auto pieces = MakeTokenizer(SentencePieceFile());
  EXPECT_EQ(*pieces->TokenBytes(262), " a");
  EXPECT_EQ(*pieces->TokenBytes(3 + 0xC3), "\xc3");
  EXPECT_EQ(*pieces->TokenBytes(2), "</s>");
  EXPECT_THAT(std::string(bytes->TokenBytes(270).status().message()), HasSubstr("token id 270 "));
}

TEST(TokenizerTest, Flags_OfEachKindOfId) {
  const auto bytes = MakeTokenizer(ByteLevelFile());
  const auto pieces = MakeTokenizer(SentencePieceFile());
  EXPECT_TRUE(bytes->HasToken(300));
  EXPECT_FALSE(bytes->HasToken(270));
  EXPECT_THAT(bytes->IdsWithoutToken(262), ElementsAre(259, 260, 261));
  EXPECT_EQ(bytes->IdsWithoutToken(301).size(), 41u);
  EXPECT_FALSE(bytes->HasToken(-1));
  EXPECT_FALSE(bytes->HasToken(301));
  EXPECT_TRUE(bytes->IsSpecial(300));
  EXPECT_FALSE(bytes->IsSpecial(256));
  EXPECT_FALSE(bytes->IsSpecial(270));
  EXPECT_TRUE(pieces->IsByteFallback(3));
  EXPECT_FALSE(pieces->IsByteFallback(262));
  EXPECT_FALSE(bytes->IsByteFallback(0xC3));
}

TEST(TokenizerTest, VocabularyDigest_OfIdsBytesAndFlagsOnly) {
  const auto plain = MakeTokenizer(ByteLevelFile())->VocabularyDigest();
  EXPECT_EQ(plain, MakeTokenizer(ByteLevelFile(), R"({"eos_token":"<eos>"})")->VocabularyDigest());
  json renamed = ByteLevelFile();
  renamed["added_tokens"][0]["content"] = "<end>";
  json moved = ByteLevelFile();
  moved["added_tokens"][0]["id"] = 301;
  json plainer = ByteLevelFile();
  plainer["added_tokens"][0]["special"] = false;
  for (const json& file : {renamed, moved, plainer}) {
    EXPECT_FALSE(plain == MakeTokenizer(file)->VocabularyDigest());
  }
}

TEST(TokenizerTest, EncodeLineBreakThatTheVocabularyLacks_OneLineNamesIt) {
  json file = SentencePieceFile();
  file["model"]["byte_fallback"] = false;
  file["model"].erase("unk_token");
  const absl::Status status = MakeTokenizer(file)->Encode("a\n", false).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("the character '\\n' (U+000A)"));
}

TEST(TokenizerTest, EncodeExplodingReplacements_Refused) {
  json file = ByteLevelFile();
  const json grow = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(4096, 'a')}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {grow, grow, grow}}};
  const absl::Status status = MakeTokenizer(file)->Encode("a", false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

}  // namespace
}  // namespace retort::text
