#include "common/text/tokenizer.h"

#include <string>
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

TEST(TokenizerTest, LoadMissingFolder_NotFoundNamingFile) {
  const absl::Status status = Tokenizer::Load("/no/such").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/tokenizer.json"));
}

TEST(TokenizerTest, LoadUnknownPart_RefusedByName) {
  const struct {
    const char* pointer;  // JSON pointer of what is replaced.
    json value;
    const char* want;
  } cases[] = {
      {"/model/type", "Unigram", "m/tokenizer.json.model.type is Unigram; this build reads BPE"},
      {"/model/type", "Uni\ngram", "model.type is Uni\\ngram; "},
      {"/model/dropout", 0.1, "model.dropout is 0.1"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix is \"</w>\""},
      {"/normalizer", {{"type", "Lowercase"}}, "normalizer.type is Lowercase"},
      {"/pre_tokenizer", {{"type", "Metaspace"}}, "pre_tokenizer.type is Metaspace"},
      {"/post_processor", {{"type", "BertProcessing"}}, "post_processor.type is BertProcessing"},
      {"/decoder", {{"type", "WordPiece"}}, "decoder.type is WordPiece"},
      {"/decoder", nullptr, "tokenizer.json.decoder is null"},
      {"/added_tokens/0/lstrip", true, "added_tokens[0].lstrip is true for \"<eos>\""},
  };
  for (const auto& c : cases) {
    json file = ByteLevelFile();
    file[json::json_pointer(c.pointer)] = c.value;
    const absl::Status status = Tokenizer::Parse(file.dump(), "", "m").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << c.pointer;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(TokenizerTest, LoadBrokenFile_OneLineSaysWhatAndWhere) {
  const struct {
    const char* pointer;
    json value;
    const char* want;
  } cases[] = {
      {"/model", 3, "m/tokenizer.json.model is number; expected an object"},
      {"/model/vocab", json::array(), "model.vocab is not an object"},
      {"/model/vocab/ab", 3, "with the same id 3"},
      {"/model/vocab/ab", -1, "with id -1; expected an integer"},
      {"/model/vocab/ab", 1e99, "with id 1e+99; expected an integer"},
      {"/model/vocab/ab", 5'000'000, "with id 5000000; expected an integer"},
      {"/model/merges/0", "ab", "model.merges[0] is not two tokens"},
      {"/model/merges/0", 7, "model.merges[0] is neither"},
      {"/model/merges/1", "x q", "model.merges[1] needs \"xq\", which is not in the vocabulary"},
      {"/model/merges/1", "a q\nq", "model.merges[1] needs \"q\\nq\""},
      {"/model/vocab/a\nb", -1, "holds \"a\\nb\" with id -1"},
      {"/model/vocab/ab", "a\u00e9", "with id \"a\\u00e9\""},
      {"/model/unk_token", "<unk>", "model.unk_token is not in the vocabulary"},
      {"/added_tokens/0/id", 3, "\"<eos>\" the id 3; model.vocab gives that to"},
      {"/added_tokens/0/content", "ab", "\"ab\" the id 300; model.vocab gives it 256"},
      {"/pre_tokenizer/use_regex", 1, "pre_tokenizer.use_regex is not true or false"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "(a"}}}},
       "pre_tokenizer.pattern: pattern \"(a\""},
  };
  for (const auto& c : cases) {
    json file = ByteLevelFile();
    file[json::json_pointer(c.pointer)] = c.value;
    const std::string error = LoadError(file);
    EXPECT_THAT(error, HasSubstr(c.want)) << c.pointer;
    EXPECT_EQ(error.find('\n'), error.npos);
  }
}

TEST(TokenizerTest, LoadBeyondBounds_Refused) {
  json file = ByteLevelFile();
  file["model"]["vocab"][std::string(5000, 'a')] = 270;
  EXPECT_THAT(LoadError(file), HasSubstr("of 5000 bytes; at most 4096"));
  json deep = ByteLevelFile();
  json sequence = {{"type", "NFC"}};
  for (int i = 0; i < 100; ++i) sequence = {{"type", "Sequence"}, {"normalizers", {sequence}}};
  deep["normalizer"] = sequence;
  EXPECT_THAT(LoadError(deep), HasSubstr("nested deeper than 64 levels"));
}

TEST(TokenizerTest, LoadTemplateWithATokenOfTwoLines_OneLineSaysWhere) {
  json file = SentencePieceFile();
  file["post_processor"]["single"][0]["SpecialToken"]["id"] = "a\nb";
  EXPECT_EQ(LoadError(file), "m/tokenizer.json.post_processor.special_tokens.a\\nb is missing");
}

TEST(TokenizerTest, EncodeLineBreakThatTheVocabularyLacks_OneLineNamesIt) {
  json file = SentencePieceFile();
  file["model"]["byte_fallback"] = false;
  file["model"].erase("unk_token");
  const absl::Status status = MakeTokenizer(file)->Encode("a\n", false).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("the character '\\n' (U+000A)"));
}

TEST(TokenizerTest, LoadAddedTokenThatExplodes_RefusedByName) {
  json file = ByteLevelFile();
  const json grow = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(4096, 'a')}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {grow, grow, grow}}};
  file["added_tokens"][0] = {{"id", 300}, {"content", "a"}, {"normalized", true}};
  EXPECT_THAT(LoadError(file), HasSubstr("m/tokenizer.json.added_tokens[0]: the normalized text"));
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
