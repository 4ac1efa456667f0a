#include "common/data/dataset.h"

#include <string>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::data {
namespace {

using testing::HasSubstr;

std::string ErrorOf(const std::string& text, const DatasetBounds& bounds = {}) {
  const auto dataset = Dataset::Parse(text, "rows.jsonl", bounds);
  if (dataset.ok()) return "accepted";
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(dataset.status().message());
}

TEST(DatasetTest, Parse_EachForm_PromptAndResponse) {
  const auto dataset = Dataset::Parse(
      "{\"prompt\": \"a\", \"answer\": \"b\"}\n"
      "\n"
      "{\"id\": 7, \"prompt\": \"c\", \"response\": \"\"}\r\n"
      "{\"prompt\": \"d\"}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"e\"}, {\"role\": \"assistant\", "
      "\"content\": \"\\u00e9\"}]}",
      "rows.jsonl");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_EQ(dataset->size(), 4);
  struct Want {
    std::string prompt, response;
    bool has_response;
    int64_t line;
  };
  const Want want[] = {
      {"a", "b", true, 1}, {"c", "", true, 3}, {"d", "", false, 4}, {"", "é", true, 5}};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(dataset->row(i).prompt, want[i].prompt);
    EXPECT_EQ(dataset->row(i).response, want[i].response);
    EXPECT_EQ(dataset->row(i).has_response, want[i].has_response);
    EXPECT_EQ(dataset->row(i).line, want[i].line);
  }
  EXPECT_EQ(dataset->Where(1), "rows.jsonl:3");
}

TEST(DatasetTest, Parse_BadLine_NamesLineAndWhatWasExpected) {
  struct Case {
    const char* name;
    std::string text, want;
  };
  const std::string ok = "{\"prompt\": \"a\"}\n";
  const Case cases[] = {
      {"empty file", "", "rows.jsonl: no rows; expected {\"prompt\", \"answer\"}"},
      {"only blanks", "\n  \n\r\n", "rows.jsonl: no rows"},
      {"no JSON", ok + "prompt: a\n", "rows.jsonl:2: not valid JSON"},
      {"truncated", ok + "{\"prompt\": \"a", "rows.jsonl:2: not valid JSON"},
      {"two objects", "{\"prompt\": \"a\"} {}\n", "rows.jsonl:1: not valid JSON"},
      {"duplicate key", "{\"prompt\": \"a\", \"prompt\": \"b\"}", "key \"prompt\" appears twice"},
      {"an array", "[1]\n", "rows.jsonl:1: the line is of type array; expected one JSON object"},
      {"no prompt", ok + "\n{\"text\": \"a\"}\n", "rows.jsonl:3: no \"prompt\"; expected"},
      {"prompt no string", "{\"prompt\": 3}", "rows.jsonl:1: \"prompt\" is of type number"},
      {"answer no string", "{\"prompt\": \"\", \"answer\": 7}", "\"answer\" is of type number"},
      {"both", "{\"prompt\": \"\", \"answer\": \"\", \"response\": \"\"}",
       "both \"answer\" and \"response\""},
      {"messages and prompt", "{\"prompt\": \"\", \"messages\": []}",
       "both \"messages\" and \"prompt\""},
      {"not UTF-8", ok + "{\"prompt\": \"\xff\"}", "rows.jsonl:2: not UTF-8 at byte 13"},
      {"cut code point", "{\"prompt\": \"\xe2\x82\"}", "rows.jsonl:1: not UTF-8 at byte 13"},
      {"lone surrogate", "{\"prompt\": \"\\ud800\"}", "rows.jsonl:1: not valid JSON"},
      {"UTF-16", std::string("{\0\"\0", 4), "rows.jsonl:1: not valid JSON"},
  };
  for (const Case& c : cases) EXPECT_THAT(ErrorOf(c.text), HasSubstr(c.want)) << c.name;
}

TEST(DatasetTest, Parse_Messages_AsTheLineSpellsThem) {
  const auto dataset = Dataset::Parse(
      R"({"tools" : [ {"big": 123456789012345678901} ], "messages":[{"role":"user","n":1e2 }]})"
      "\n"
      R"({"messages":[{"role":"user"},{"role":"assistant","content":"a"}],"tools":null})"
      "\n"
      R"({"messages":[{"role":"user"},{"role":"assistant","content":"a"}],"answer":"b"})"
      "\n"
      R"({"messages":[{"role":"assistant","content":null}],"m\u0065ssages_":1})"
      "\n"
      R"({"m\u0065ssages":[{"role":"user"},{"role":"tool"}],"answer":"c"})",
      "rows.jsonl");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ASSERT_EQ(dataset->size(), 5);
  EXPECT_EQ(dataset->row(0).messages, R"([{"role":"user","n":1e2 }])");
  EXPECT_EQ(dataset->row(0).tools, R"([ {"big": 123456789012345678901} ])");
  EXPECT_EQ(dataset->row(1).tools, "");
  EXPECT_EQ(dataset->row(4).messages, R"([{"role":"user"},{"role":"tool"}])");
  struct Want {
    int64_t prompt_messages;
    bool has_response;
    std::string response;
  };
  const Want want[] = {
      {1, false, ""}, {1, true, "a"}, {1, true, "b"}, {0, false, ""}, {2, true, "c"}};
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(dataset->row(i).is_chat()) << i;
    EXPECT_EQ(dataset->row(i).prompt_messages, want[i].prompt_messages) << i;
    EXPECT_EQ(dataset->row(i).has_response, want[i].has_response) << i;
    EXPECT_EQ(dataset->row(i).response, want[i].response) << i;
  }
}

// Tables of mixed forms are written with nulls.
TEST(DatasetTest, Parse_Nulls_AreAsIfTheyWereNotThere) {
  const auto dataset = Dataset::Parse(
      R"({"prompt":null,"response":null,"messages":[{"role":"user"}],"tools":null,"answer":null})"
      "\n"
      R"({"prompt":"p","response":"r","messages":null,"answer":null})",
      "rows.jsonl");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE(dataset->row(0).is_chat());
  EXPECT_FALSE(dataset->row(0).has_response);
  EXPECT_FALSE(dataset->row(1).is_chat());
  EXPECT_EQ(dataset->row(1).response, "r");
  EXPECT_THAT(ErrorOf(R"({"prompt":null})"), HasSubstr("no \"prompt\""));
}

TEST(DatasetTest, Parse_BadMessages_NameTheLineAndTheMessage) {
  struct Case {
    const char* line;
    const char* want;
  };
  const Case cases[] = {
      {R"({"messages":[]})", "rows.jsonl:1: \"messages\" is empty"},
      {R"({"messages":"hello"})",
       "rows.jsonl:1: \"messages\" is of type string; expected an array"},
      {R"({"messages":[{"role":"user"},2]})", "messages[1] is of type number; expected an object"},
      {R"({"messages":[{"content":"a"}]})", "messages[0] has no \"role\""},
      {R"({"messages":[{"role":3}]})", "messages[0] has no \"role\""},
      {R"({"messages":[{"role":"user"}],"response":"a"})", "both \"messages\" and \"response\""},
      {R"({"messages":[{"role":"user"}],"answer":1})", "\"answer\" is of type number"},
      {R"({"messages":[{"role":"user"}],"tools":{}})", "\"tools\" is of type object"},
      {R"({"messages":[{"role":"user"}],"tools":[1]})", "tools[0] is of type number"},
  };
  for (const Case& c : cases) EXPECT_THAT(ErrorOf(c.line), HasSubstr(c.want)) << c.line;
}

TEST(DatasetTest, Parse_AboveABound_Refused) {
  DatasetBounds bounds;
  bounds.max_line_bytes = 20;
  EXPECT_EQ(ErrorOf("{\"prompt\": \"12345\"}\n", bounds), "accepted");
  EXPECT_THAT(ErrorOf("\n{\"prompt\": \"12345678\"}\n", bounds),
              HasSubstr("rows.jsonl:2: the line is longer than 20 bytes"));
  bounds = {};
  bounds.max_rows = 2;
  const std::string row = "{\"prompt\": \"\"}\n";
  EXPECT_EQ(ErrorOf(row + row, bounds), "accepted");
  EXPECT_THAT(ErrorOf(row + row + row, bounds), HasSubstr("rows.jsonl:3: more than 2 rows"));
}

TEST(DatasetTest, Load_FileLongerThanAChunk_SameAsInMemory) {
  std::string text;
  for (int i = 0; i < 40000; ++i) {
    text += "{\"prompt\": \"" + std::to_string(i) + std::string(i % 97, 'x') + "\"}\n";
  }
  const std::string path = testing::TempDir() + "/dataset_test.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  const auto loaded = Dataset::Load(path);
  const auto parsed = Dataset::Parse(text, path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(loaded->digest(), parsed->digest());
  EXPECT_EQ(loaded->digest(), DigestOf(text));
  ASSERT_EQ(loaded->size(), 40000);
  for (int64_t i = 0; i < loaded->size(); ++i) {
    ASSERT_EQ(loaded->row(i).prompt, parsed->row(i).prompt);
  }
}

TEST(DatasetTest, Load_NoFileFolderOrTooLarge_NamesThePath) {
  EXPECT_EQ(Dataset::Load("/no/such/rows.jsonl").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Dataset::Load(testing::TempDir()).ok());
  const std::string path = testing::TempDir() + "/dataset_test_large.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, "{\"prompt\": \"\"}\n").ok());
  DatasetBounds bounds;
  bounds.max_file_bytes = 3;
  EXPECT_THAT(std::string(Dataset::Load(path, bounds).status().message()),
              HasSubstr(path + ": 15 bytes; expected at most 3"));
}

}  // namespace
}  // namespace retort::data
