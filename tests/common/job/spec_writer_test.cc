#include <algorithm>
#include <string>

#include "absl/strings/str_replace.h"
#include "common/job/job_file.h"
#include "common/job/job_text.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace retort::job {
namespace {

using google::protobuf::util::MessageDifferencer;

v1::JobSpec Load(const std::string& text) {
  const auto job = ParseJob(text, "job.yaml", "/base");
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? job->spec : v1::JobSpec();
}

TEST(SpecWriterTest, JobToYaml_EachJob_LoadsToTheSameSpec) {
  const std::string sft_with_eval =
      absl::StrReplaceAll(kSftJob, {{"{train: train.jsonl}",
                                     "{train: t, validation: v}\neval: {every: 5}\nrollout: "
                                     "{max_new_tokens: 8}\nrewards: [{type: exact_match}]"}});
  const std::string adapter_folder = absl::StrReplaceAll(
      kPpoJob, {{"  path: models/start", "  path: models/start\n  lora: {path: adapter}"}});
  for (const std::string& text : {std::string(kPpoJob), std::string(kSftJob),
                                  std::string(kFullPpoJob), sft_with_eval, adapter_folder}) {
    const v1::JobSpec spec = Load(text);
    const std::string yaml = JobToYaml(spec);
    EXPECT_EQ(yaml, JobToYaml(spec));
    EXPECT_TRUE(MessageDifferencer::Equals(spec, Load(yaml))) << yaml;
  }
}

TEST(SpecWriterTest, JobToYaml_AwkwardStrings_ReadBack) {
  v1::JobSpec spec = Load(kFullPpoJob);
  const std::string strings[] = {"null",     "~",  "true",   "1.5", "a: b", " a ",      "- a",
                                 "\"",       "\\", "#x",     "{a}", "a\nb", "\x01\x7f", "*a",
                                 "é\u2028x", "",   "\u0085", "..",  "-",    "yes"};
  for (const std::string& text : strings) {
    spec.mutable_rewards(0)->mutable_regex()->set_pattern(text.empty() ? "x" : text);
    EXPECT_TRUE(MessageDifferencer::Equals(spec, Load(JobToYaml(spec)))) << JobToYaml(spec);
  }
}

TEST(SpecWriterTest, JobToYaml_AwkwardNumbers_ReadBackBitwise) {
  v1::JobSpec spec = Load(kPpoJob);
  for (const double value : {0.1, 1.0 / 3, 3e-4, 1e-300, 99.99999999999999, 12345678.0, 5e-324}) {
    spec.mutable_optimizer()->set_learning_rate(std::min(value, 100.0));
    EXPECT_EQ(Load(JobToYaml(spec)).optimizer().learning_rate(), spec.optimizer().learning_rate());
  }
}

// Protobuf tells a field that holds -0.0 from one that was left at 0.
TEST(SpecWriterTest, JobToYaml_MinusZero_LoadsToTheSameSpec) {
  const v1::JobSpec spec = Load(absl::StrReplaceAll(kFullPpoJob, {{"lam: 1\n", "lam: -0.0\n"}}));
  EXPECT_EQ(spec.algorithm().ppo().lam(), 0);
  EXPECT_TRUE(MessageDifferencer::Equals(spec, Load(JobToYaml(spec))));
}

}  // namespace
}  // namespace retort::job
