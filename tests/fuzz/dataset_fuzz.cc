// A JSONL dataset: INVALID_ARGUMENT that names the file, or rows that read back the same from the
// plainest spelling of them.
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/json.h"
#include "common/data/dataset.h"
#include "fuzz/fuzz_target.h"
#include "nlohmann/json.hpp"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  return {
      "{\"prompt\": \"a\", \"answer\": \"b\"}\n\n{\"id\": 7, \"prompt\": \"c\", \"response\": "
      "\"\"}\r\n",
      "{\"prompt\": \"\\u00e9\\n\"}\n{\"prompt\": \"日本\", \"answer\": \"\\ud83d\\ude00\"}",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"e\"}, {\"role\": \"assistant\", "
      "\"content\": \"f\"}]}\n",
      "{\"tools\": [{\"n\": 12345678901234567890}], \"m\\u0065ssages\": [{\"role\": \"user\"}], "
      "\"answer\": \"g\", \"prompt\": null}",
  };
}

namespace {

std::string Plain(const data::Dataset& dataset) {
  std::string text;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const data::Row& row = dataset.row(i);
    // Messages and tools as the row spells them, so that not a byte of them may be lost.
    const std::string tools = row.tools.empty() ? "" : absl::StrCat(",\"tools\":", row.tools);
    absl::StrAppend(&text, "{",
                    row.is_chat() ? absl::StrCat("\"messages\":", row.messages, tools)
                                  : absl::StrCat("\"prompt\":", DumpJson(Json(row.prompt))));
    if (row.has_response) absl::StrAppend(&text, ",\"answer\":", DumpJson(Json(row.response)));
    absl::StrAppend(&text, "}\n");
  }
  return text;
}

void CheckRoundTrip(const data::Dataset& dataset) {
  const auto again = data::Dataset::Parse(Plain(dataset), "again.jsonl");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(again->size() == dataset.size());
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const data::Row &got = again->row(i), &want = dataset.row(i);
    RETORT_CHECK(got.prompt == want.prompt) << i;
    RETORT_CHECK(got.response == want.response) << i;
    RETORT_CHECK(got.has_response == want.has_response) << i;
    RETORT_CHECK(got.messages == want.messages) << i;
    RETORT_CHECK(got.tools == want.tools) << i;
    RETORT_CHECK(got.prompt_messages == want.prompt_messages) << i;
  }
}

}  // namespace
}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto dataset = data::Dataset::Parse(text, "rows.jsonl");
  if (!dataset.ok()) {
    fuzz::CheckRefusal(dataset.status(), {absl::StatusCode::kInvalidArgument}, {"rows.jsonl:"});
    return 0;
  }
  fuzz::NoteAccepted();
  fuzz::CheckRoundTrip(*dataset);
  return 0;
}
