// The quick start's generator: what it writes is deterministic, disjoint, right, and spelled by its
// own tokenizer.
#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/text/tokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

class QuickstartDataTest : public testing::Test {
 protected:
  // Returns the folder.
  std::string Generate(const std::string& name, const std::string& arguments) {
    const char* bin = std::getenv("RETORT_BIN_DIR");
    const std::string folder = absl::StrCat(testing::TempDir(), "/quickstart-", name);
    const std::string command =
        absl::StrCat(bin == nullptr ? "build/bin" : bin, "/quickstart-data --out ", folder, " ",
                     arguments, " > /dev/null");
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return folder;
  }

  static std::vector<Json> Rows(const std::string& path) {
    const std::string text = *ReadFile(path, 64 << 20);
    std::vector<Json> rows;
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      rows.push_back(*ParseJson(line, path));
    }
    return rows;
  }
};

TEST_F(QuickstartDataTest, Sort_AnswersAreRightAndRowsDisjoint) {
  const std::string folder = Generate("sort", "--train-rows 3000");
  std::vector<Json> rows = Rows(folder + "/train.jsonl");
  EXPECT_EQ(rows.size(), 3000);
  const std::vector<Json> heldout = Rows(folder + "/heldout.jsonl");
  EXPECT_EQ(heldout.size(), 1000);
  rows.insert(rows.end(), heldout.begin(), heldout.end());
  std::set<std::string> prompts;
  for (const Json& row : rows) {
    std::string digits = row["prompt"].get<std::string>();
    prompts.insert(digits);
    ASSERT_EQ(digits.size(), 7);
    ASSERT_EQ(digits.back(), '=');
    digits.pop_back();
    std::sort(digits.begin(), digits.end());
    EXPECT_EQ(row["answer"], digits);
  }
  EXPECT_EQ(prompts.size(), 4000);
}

TEST_F(QuickstartDataTest, Addition_AnswersAreSums) {
  const std::string folder = Generate("addition", "--task addition --heldout-rows 10");
  for (const Json& row : Rows(folder + "/train.jsonl")) {
    const std::string prompt = row["prompt"].get<std::string>();
    const std::vector<std::string> addends =
        absl::StrSplit(prompt.substr(0, prompt.size() - 1), '+');
    ASSERT_EQ(addends.size(), 2) << prompt;
    EXPECT_EQ(row["answer"], std::to_string(std::stoi(addends[0]) + std::stoi(addends[1])));
  }
}

TEST_F(QuickstartDataTest, SameSeed_SameBytes) {
  const std::string a = Generate("a", "--seed 5 --train-rows 100");
  const std::string b = Generate("b", "--seed 5 --train-rows 100");
  const std::string c = Generate("c", "--seed 6 --train-rows 100");
  for (const char* file :
       {"/train.jsonl", "/heldout.jsonl", "/model/config.json", "/model/tokenizer.json"}) {
    EXPECT_EQ(*ReadFile(a + file, 1 << 20), *ReadFile(b + file, 1 << 20)) << file;
  }
  EXPECT_NE(*ReadFile(a + "/train.jsonl", 1 << 20), *ReadFile(c + "/train.jsonl", 1 << 20));
}

TEST_F(QuickstartDataTest, Tokenizer_SpellsEveryRowOneTokenPerCharacter) {
  const std::string folder = Generate("tokens", "--train-rows 100");
  const auto loaded = text::Tokenizer::Load(folder + "/model");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const text::Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.vocab_size(), 15);
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  for (const Json& row : Rows(folder + "/train.jsonl")) {
    const std::string text = row["prompt"].get<std::string>() + row["answer"].get<std::string>();
    const auto ids = tokenizer.Encode(text, /*add_special_tokens=*/false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(ids->size(), 13);
    EXPECT_EQ(*tokenizer.Decode(*ids, true), text);
  }
}

TEST_F(QuickstartDataTest, MoreRowsThanPrompts_Refused) {
  const char* bin = std::getenv("RETORT_BIN_DIR");
  const std::string command =
      absl::StrCat(bin == nullptr ? "build/bin" : bin,
                   "/quickstart-data --task addition --train-rows 9999 --out ", testing::TempDir(),
                   "/quickstart-refused 2> /dev/null");
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
}

}  // namespace
}  // namespace retort
