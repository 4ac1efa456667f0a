// What a tokenizer's files must hold, and what is said when they do not.
#include <string>
#include <utility>
#include <vector>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/text/tokenizer.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"

namespace retort::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(TokenizerLoaderTest, MergesOfEitherForm_TheSame) {
  json file = ByteLevelFile();
  for (json& merge : file["model"]["merges"]) {
    const std::string text = merge;
    const size_t space = text.find(' ');
    merge = json::array({text.substr(0, space), text.substr(space + 1)});
  }
  EXPECT_THAT(MakeTokenizer(file)->Encode("abab ab", false).value(), ElementsAre(258, 257));
}

TEST(TokenizerLoaderTest, MissingFolder_NotFoundNamingFile) {
  const absl::Status status = Tokenizer::Load("/no/such").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/tokenizer.json"));
}

TEST(TokenizerLoaderTest, UnknownPart_RefusedByName) {
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
  };
  for (const auto& c : cases) {
    json file = ByteLevelFile();
    file[json::json_pointer(c.pointer)] = c.value;
    const absl::Status status = Tokenizer::Parse(DumpJson(file), "", "m").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << c.pointer;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(TokenizerLoaderTest, BrokenFile_OneLineSaysWhatAndWhere) {
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
      {"/model/merges/0", json::array({"a"}), "model.merges[0] is neither"},
      {"/model/merges/0", json::array({"a", "b", "c"}), "model.merges[0] is neither"},
      {"/model/merges", nullptr, "model.merges is not a list"},
      {"/model/vocab", nullptr, "model.vocab is not an object"},
      {"/model/merges/1", "x q", "model.merges[1] needs \"xq\", which is not in the vocabulary"},
      {"/model/merges/1", "a q\nq", "model.merges[1] needs \"q\\nq\""},
      {"/model/vocab/a\nb", -1, "holds \"a\\nb\" with id -1"},
      {"/model/vocab/ab", "a\u00e9", "with id \"a\u00e9\""},
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

TEST(TokenizerLoaderTest, BeyondBounds_Refused) {
  json file = ByteLevelFile();
  file["model"]["vocab"][std::string(5000, 'a')] = 270;
  EXPECT_THAT(LoadError(file), HasSubstr("of 5000 bytes; at most 4096"));
  json deep = ByteLevelFile();
  json sequence = {{"type", "NFC"}};
  for (int i = 0; i < 100; ++i) sequence = {{"type", "Sequence"}, {"normalizers", {sequence}}};
  deep["normalizer"] = sequence;
  EXPECT_THAT(LoadError(deep), HasSubstr("nested deeper than 64 levels"));
}

TEST(TokenizerLoaderTest, TextThatIsNotJson_NamesTheByte) {
  const std::string file = DumpJson(ByteLevelFile());
  const auto error = [](const std::string& text) {
    return std::string(Tokenizer::Parse(text, "", "m").status().message());
  };
  EXPECT_EQ(error(file.substr(0, 100)), "m/tokenizer.json: not valid JSON at byte 100");
  EXPECT_THAT(error(file + "x"), HasSubstr(absl::StrCat("not valid JSON at byte ", file.size())));
  EXPECT_EQ(error("{\"a\": \"\xff\"}"), "m/tokenizer.json: not UTF-8 at byte 7");
  EXPECT_EQ(error("3"), "m/tokenizer.json is number; expected an object");
  EXPECT_THAT(error("{\"model\":{},\"model\":{}}"), HasSubstr("\"model\" appears twice"));
  EXPECT_THAT(error("{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}"),
              HasSubstr("holds \"a\" twice"));
}

TEST(TokenizerLoaderTest, TemplateWithATokenOfTwoLines_OneLineSaysWhere) {
  json file = SentencePieceFile();
  file["post_processor"]["single"][0]["SpecialToken"]["id"] = "a\nb";
  EXPECT_EQ(LoadError(file), "m/tokenizer.json.post_processor.special_tokens.a\\nb is missing");
}

TEST(TokenizerLoaderTest, AddedTokenThatExplodes_RefusedByName) {
  json file = ByteLevelFile();
  const json grow = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(4096, 'a')}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {grow, grow, grow}}};
  file["added_tokens"][0] = {{"id", 300}, {"content", "a"}, {"normalized", true}};
  EXPECT_THAT(LoadError(file), HasSubstr("m/tokenizer.json.added_tokens[0]: the normalized text"));
}

}  // namespace
}  // namespace retort::text
