// An encoded rollout: DATA_LOSS, or a rollout that encodes to the very same bytes.
#include "common/artifact/rollout.h"
#include "common/artifact/sample_artifacts.h"
#include "common/base/check.h"
#include "fuzz/fuzz_target.h"
#include "google/protobuf/stubs/logging.h"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  artifact::Rollout plain = artifact::SampleRollout();
  plain.reward_names.clear();
  plain.reward_parts.clear();
  plain.reward_gave_up.clear();
  return {*artifact::Encode(artifact::SampleRollout()), *artifact::Encode(plain)};
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  static const google::protobuf::LogSilencer no_lines_about_bad_utf8;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto rollout = artifact::DecodeRollout(bytes);
  if (!rollout.ok()) {
    fuzz::CheckRefusal(rollout.status(), {absl::StatusCode::kDataLoss}, {"rollout artifact: "});
    return 0;
  }
  fuzz::NoteAccepted();
  const auto again = artifact::Encode(*rollout);
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(*again == bytes);
  return 0;
}
