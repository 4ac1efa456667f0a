#include "common/base/json.h"

#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort {
namespace {

TEST(ParseJsonTest, KeyOrder_Kept) {
  EXPECT_EQ(ParseJson(R"({"b":1,"a":2})", "x")->dump(), R"({"b":1,"a":2})");
}

TEST(ParseJsonTest, BadInput_OneLineWithSource) {
  const struct {
    std::string text;
    std::string want;
  } cases[] = {
      {R"({"a":1,"a":2})", "f.json: key \"a\" appears twice in one object"},
      {R"({"a\nb":1,"a\nb":2})", "f.json: key \"a\\nb\" appears twice in one object"},
      {R"({"a":)", "f.json: not valid JSON at byte 6"},
      {"\"\xff\"", "f.json: not valid JSON at byte 2"},
      {std::string(100, '['), "f.json: nested deeper than 64 levels"},
      {"", "f.json: not valid JSON at byte 1"},
      {"1 2", "f.json: not valid JSON at byte 3"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ParseJson(c.text, "f.json").status().message(), c.want) << c.text;
  }
}

TEST(ParseSortedJsonTest, ManyKeys_ReadInOrderOfKeys) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":1";
  const auto value = ParseSortedJson(text + "}", "x");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->size(), 200'000);
  EXPECT_EQ(value->begin().key(), "k0");
}

TEST(ParseSortedJsonTest, DuplicateKey_Refused) {
  EXPECT_EQ(ParseSortedJson(R"({"a":1,"a":2})", "f").status().message(),
            "f: key \"a\" appears twice in one object");
}

}  // namespace
}  // namespace retort
