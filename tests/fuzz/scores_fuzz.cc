// Encoded scores: DATA_LOSS, or scores that encode to the very same bytes.
#include "common/artifact/sample_artifacts.h"
#include "common/artifact/scores.h"
#include "common/base/check.h"
#include "fuzz/fuzz_target.h"
#include "google/protobuf/stubs/logging.h"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  artifact::Scores whole = artifact::SampleScores();
  whole.vocab = 3;
  return {*artifact::Encode(artifact::SampleScores()), *artifact::Encode(whole)};
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  static const google::protobuf::LogSilencer no_lines_about_bad_utf8;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto scores = artifact::DecodeScores(bytes);
  if (!scores.ok()) {
    fuzz::CheckRefusal(scores.status(), {absl::StatusCode::kDataLoss}, {"scores artifact: "});
    return 0;
  }
  fuzz::NoteAccepted();
  RETORT_CHECK(scores->tokens() >= 0);
  const auto again = artifact::Encode(*scores);
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(*again == bytes);
  return 0;
}
