// The final weights are a function of the job: not of time, nor of how many workers there are.
#include "absl/strings/str_cat.h"
#include "e2e/retort_run.h"

namespace retort::e2e {
namespace {

JobOptions Lag(int lag) {
  JobOptions options;
  options.lag = lag;
  return options;
}

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

}  // namespace
}  // namespace retort::e2e
