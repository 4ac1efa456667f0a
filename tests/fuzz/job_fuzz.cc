// A job file and the overrides of the command line: INVALID_ARGUMENT that names the position or the
// override, or a spec that survives its own printing.
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/job/job_file.h"
#include "common/job/job_text.h"
#include "fuzz/fuzz_target.h"
#include "google/protobuf/util/message_differencer.h"

namespace retort::fuzz {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {job::kPpoJob, job::kSftJob, job::kFullPpoJob};
  for (const char* override_text :
       {"algorithm.ppo.gamma=0.5", "rewards.1={type: length, target: 3}",
        "optimizer={learning_rate: 1.0e-3, beta1: 0.5}", "rewards.0.type=exact_match"}) {
    seeds.push_back(absl::StrCat(job::kPpoJob, kSeparator, override_text));
  }
  return seeds;
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const std::vector<absl::string_view> documents = fuzz::Documents(data, size);
  const std::vector<std::string> overrides(documents.begin() + 1, documents.end());
  const auto loaded = job::ParseJob(documents[0], "job.yaml", "/base", overrides);
  if (!loaded.ok()) {
    fuzz::CheckRefusal(loaded.status(), {absl::StatusCode::kInvalidArgument},
                       {"job.yaml:", "--set"});
    return 0;
  }
  fuzz::NoteAccepted();
  const auto again = job::ParseJob(job::JobToYaml(loaded->spec), "again.yaml", "/");
  RETORT_CHECK(again.ok()) << again.status();
  RETORT_CHECK(google::protobuf::util::MessageDifferencer::Equals(loaded->spec, again->spec));
  return 0;
}
