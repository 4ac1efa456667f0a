// Every filter, test, method, tag, rule of whitespace and error against what Jinja2 itself made of
// them: cases.jsonl, which make_cases.py writes.
#include <optional>
#include <string>
#include <vector>

#include "common/text/jinja/case_file.h"
#include "common/text/jinja/template.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::text::jinja {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::string> RenderCase(const Json& line) {
  std::vector<Variable> variables;
  if (line.contains("variables")) {
    for (const auto& [name, json] : line["variables"].items()) {
      variables.push_back({name, json.get<std::string>(), std::nullopt});
    }
  }
  const auto parsed = Template::Parse(line["template"].get<std::string>(), "t");
  if (!parsed.ok()) return parsed.status();
  const auto rendering = (*parsed)->Render(variables, absl::CivilSecond(2024, 7, 26, 13, 5, 9));
  if (!rendering.ok()) return rendering.status();
  return rendering->text;
}

TEST(CasesTest, Text_EveryCase_IsWhatJinjaMakes) {
  int checked = 0;
  for (const Json& line : ReadLines(TestFile("cases.jsonl"))) {
    if (!line.contains("text")) continue;
    ++checked;
    const auto got = RenderCase(line);
    if (!got.ok()) {
      ADD_FAILURE() << line["group"] << " " << line["template"] << "\n" << got.status();
      continue;
    }
    EXPECT_EQ(*got, line["text"].get<std::string>()) << line["group"] << " " << line["template"];
  }
  EXPECT_GT(checked, 150);
}

TEST(CasesTest, Error_EveryCase_IsRefusedWithItsReason) {
  int checked = 0;
  for (const Json& line : ReadLines(TestFile("cases.jsonl"))) {
    if (!line.contains("error")) continue;
    ++checked;
    const auto got = RenderCase(line);
    if (got.ok()) {
      ADD_FAILURE() << line["template"] << " made " << *got;
      continue;
    }
    EXPECT_THAT(std::string(got.status().message()), HasSubstr(line["error"].get<std::string>()))
        << line["template"];
    // What Jinja2 has and we have not is told from what is wrong.
    if (line["group"] == "refused") {
      EXPECT_EQ(got.status().code(), absl::StatusCode::kUnimplemented) << line["template"];
    }
  }
  EXPECT_GT(checked, 130);
}

}  // namespace
}  // namespace retort::text::jinja
