#include "common/text/json_cursor.h"

#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

// Whether the cursor takes all of `text`, and what it says if not.
std::string Problem(absl::string_view text) {
  JsonCursor cursor(text, /*offset=*/100);
  return cursor.Skip() && cursor.End() ? "" : cursor.error();
}

TEST(JsonCursorTest, Skip_TakesWhatJsonIs) {
  for (const char* text : {"null", " true ", "false", "0", "-0", "12.5e-3", "1E+9", "\"\"", "[]",
                           "{}", "[1,[2,{}]]", "{\"a\":{\"b\":[null]},\"\":1}",
                           "\"\\u00e4\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\xc3\xa4\""}) {
    EXPECT_EQ(Problem(text), "") << text;
    EXPECT_TRUE(nlohmann::json::accept(text)) << text;
  }
}

TEST(JsonCursorTest, Skip_RefusesWhatJsonIsNot) {
  for (const char* text : {"",
                           " ",
                           "nul",
                           "tru",
                           "01",
                           "1.",
                           ".5",
                           "1e",
                           "+1",
                           "-",
                           "\"",
                           "\"\\\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\\ud800\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\udc00\"",
                           "\"\n\"",
                           "[",
                           "[1",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "{",
                           "{a:1}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{,\"a\":1}",
                           "{\"a\":1 \"b\":2}",
                           "1 2",
                           "[]]",
                           "'a'",
                           "NaN",
                           "/**/1"}) {
    EXPECT_NE(Problem(text), "") << text;
    EXPECT_FALSE(nlohmann::json::accept(text)) << text;
  }
}

TEST(JsonCursorTest, Problem_NamesTheByteOfTheFile) {
  EXPECT_EQ(Problem("[1, x]"), "not valid JSON at byte 104");
  EXPECT_EQ(Problem("\"a\\ud800\""), "half of a surrogate pair at byte 108");
  EXPECT_EQ(Problem(std::string(1000, '[')), "nested deeper than 64 levels at byte 165");
}

TEST(JsonCursorTest, String_ViewOfTheTextUnlessEscaped) {
  const std::string text = "[\"plain\", \"a\\u00e4\\ud83d\\ude00\\n\"]";
  JsonCursor cursor(text);
  absl::string_view value;
  EXPECT_TRUE(cursor.Take('['));
  EXPECT_TRUE(cursor.String(&value));
  EXPECT_EQ(value, "plain");
  EXPECT_EQ(value.data(), text.data() + 2);
  EXPECT_TRUE(cursor.Take(','));
  EXPECT_TRUE(cursor.String(&value));
  EXPECT_EQ(value, "a\xc3\xa4\xf0\x9f\x98\x80\n");
  EXPECT_TRUE(cursor.Take(']'));
  EXPECT_TRUE(cursor.End());
}

TEST(JsonCursorTest, Skip_RawIsTheValueAlone) {
  JsonCursor cursor(" { \"a\" : [ 1 ] } ");
  absl::string_view raw, key;
  bool first = true;
  EXPECT_TRUE(cursor.Take('{'));
  EXPECT_TRUE(cursor.More('}', &first));
  EXPECT_TRUE(cursor.String(&key));
  EXPECT_TRUE(cursor.Take(':'));
  EXPECT_TRUE(cursor.Skip(&raw));
  EXPECT_EQ(raw, "[ 1 ]");
  EXPECT_FALSE(cursor.More('}', &first));
  EXPECT_TRUE(cursor.End());
}

}  // namespace
}  // namespace retort::text
