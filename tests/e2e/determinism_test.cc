// The final weights are a function of the job: not of time, nor of how many workers there are.
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

TEST(DeterminismTest, SameSeed_Twice_SameWeights) {
  SmallRun run("again", Lag(0));
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(0)));
  // Nothing but metadata and a few sample texts went through the driver.
  EXPECT_LT(run.Journal("SELECT MAX(received_bytes) FROM commits"), 64 << 10);
}

TEST(DeterminismTest, OtherSeed_OtherWeights) {
  SmallRun run("other-seed", Lag(0));
  ASSERT_EQ(run.Start({"--set", "seed=6"}), 0) << run.output();
  EXPECT_NE(run.FinalWeights(), UndisturbedWeights(Lag(0)));
}

TEST(DeterminismTest, ThreeRolloutWorkers_SameWeightsAsOne) {
  for (const int lag : {0, 1}) {
    JobOptions options = Lag(lag);
    options.rollout_workers = 3;
    SmallRun run(absl::StrCat("three-workers-", lag), options);
    ASSERT_EQ(run.Start(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(lag)));
  }
}

TEST(DeterminismTest, OneStepOff_Twice_SameWeightsAndNotThoseOfOnPolicy) {
  SmallRun run("lag-again", Lag(1));
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(1)));
  EXPECT_NE(run.FinalWeights(), UndisturbedWeights(Lag(0)));
}

TEST(DeterminismTest, TruncatedSampling_AnyNumberOfWorkers_SameWeights) {
  JobOptions options;
  options.sampling = "temperature: 0.7, top_k: 8, top_p: 0.9";
  const std::string want = UndisturbedWeights(options);
  options.rollout_workers = 2;
  SmallRun run("truncated-two", options);
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), want);
}

// What a rollout worker says of a token, generating with a cache, is what the learner computes for
// the whole sequence.
TEST(DeterminismTest, Untruncated_BehaviourLogProbs_AreTheLearners) {
  JobOptions options;
  options.sampling = "temperature: 0.7";
  SmallRun run("warm", options);
  ASSERT_EQ(run.Start(), 0) << run.output();
  const std::vector<v1::StepRecord> steps = run.Steps();
  ASSERT_EQ(steps.size(), 6);
  for (const v1::StepRecord& step : steps) {
    EXPECT_LT(step.scalars().at("sampling/sampling_logp_difference/max"), 1e-4) << step.step();
    EXPECT_GT(step.scalars().at("sampling/importance_sampling_ratio/min"), 0.999) << step.step();
  }
}

// Messages through the chat template of the policy's folder, which asks for the year.
TEST(DeterminismTest, Conversations_EveryRoleRendersTheRecordedTime) {
  const std::string model = TaskFolder() + "/chat-model";
  std::filesystem::copy(TaskFolder() + "/model", model);
  ASSERT_TRUE(WriteFileDurably(model + "/chat_template.jinja",
                               "{{ strftime_now('%Y') }}={{ messages[0].content }}"
                               "{% if add_generation_prompt %}={% endif %}")
                  .ok());
  std::string rows;
  for (int i = 0; i < 24; ++i) {
    absl::StrAppend(&rows, R"({"messages":[{"role":"user","content":")", i, R"("}],"answer":"7"})",
                    "\n");
  }
  ASSERT_TRUE(WriteFileDurably(TaskFolder() + "/chat.jsonl", rows).ok());
  JobOptions options;
  options.steps = 2;
  options.evaluate = false;
  const std::vector<std::string> flags = {"--set", "policy.init.config=" + model, "--set",
                                          "data.train=" + TaskFolder() + "/chat.jsonl"};
  const auto recorded = [](const SmallRun& run) {
    const auto yaml = ReadFile(run.folder() + "/job.yaml", 1 << 20);
    EXPECT_TRUE(yaml.ok()) << yaml.status();
    const size_t at = yaml->find("template_time: ");
    return at == std::string::npos ? "" : yaml->substr(at + 15, yaml->find('\n', at) - at - 15);
  };
  std::vector<std::string> given = flags;
  given.insert(given.end(), {"--set", "data.template_time=1987-06-05T04:03:02"});
  SmallRun first("chat-given", options);
  ASSERT_EQ(first.Start(given), 0) << first.output();
  EXPECT_THAT(recorded(first), testing::HasSubstr("1987-06-05T04:03:02"));
  const std::vector<v1::StepRecord> steps = first.Steps();
  ASSERT_EQ(steps.size(), 2);
  EXPECT_GT(steps[1].samples_size(), 0);
  for (const v1::SampleText& sample : steps[1].samples()) {
    EXPECT_THAT(sample.prompt(), testing::StartsWith("1987="));
  }
  SmallRun second("chat-recorded", options);
  ASSERT_EQ(second.Start(flags), 0) << second.output();
  EXPECT_THAT(recorded(second), testing::MatchesRegex("\"?20..-..-..T..:..:..\"?"));
}

}  // namespace
}  // namespace retort::e2e
