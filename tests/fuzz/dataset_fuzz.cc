// A JSONL dataset: INVALID_ARGUMENT that names the file, or rows that read back the same from the
// plainest spelling of them.
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/json.h"
#include "common/data/dataset.h"
#include "fuzz/fuzz_target.h"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  return {
      "{\"prompt\": \"a\", \"answer\": \"b\"}\n\n{\"id\": 7, \"prompt\": \"c\", \"response\": "
      "\"\"}\r\n",
      "{\"prompt\": \"\\u00e9\\n\"}\n{\"prompt\": \"日本\", \"answer\": \"\\ud83d\\ude00\"}",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"e\"}, {\"role\": \"assistant\", "
      "\"content\": \"f\"}]}\n",
  };
}

namespace {

std::string Plain(const data::Dataset& dataset) {
  std::string text;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    Json line = {{"prompt", dataset.row(i).prompt}};
    if (dataset.row(i).has_response) line["response"] = dataset.row(i).response;
    absl::StrAppend(&text, line.dump(), "\n");
  }
  return text;
}

void CheckRoundTrip(const data::Dataset& dataset) {
  const auto again = data::Dataset::Parse(Plain(dataset), "again.jsonl");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(again->size() == dataset.size());
  for (int64_t i = 0; i < dataset.size(); ++i) {
    RETORT_CHECK(again->row(i).prompt == dataset.row(i).prompt) << i;
    RETORT_CHECK(again->row(i).response == dataset.row(i).response) << i;
    RETORT_CHECK(again->row(i).has_response == dataset.row(i).has_response) << i;
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
