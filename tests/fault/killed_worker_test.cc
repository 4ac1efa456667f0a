// Workers that are killed are replaced, and the final weights are those of an undisturbed run.
#include <signal.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;

TEST(KilledWorkerTest, RolloutWorkerKilled_DuringGenerationAndAfterReport_SameWeights) {
  for (const int lag : {0, 1}) {
    JobOptions options = Lag(lag);
    options.evaluate = false;  // Every bundle is one that is trained on.
    const std::string want = UndisturbedWeights(options);
    options.rollout_workers = 2;
    SmallRun run(absl::StrCat("rollout-killed-", lag), options);
    ASSERT_EQ(run.Start({"--failpoint", "rollout-0:rollout.generate=kill@40", "--failpoint",
                         "rollout-1:rollout.after_report=kill@3"}),
              0)
        << run.output();
    EXPECT_EQ(run.FinalWeights(), want);
    EXPECT_EQ(run.Respawns("rollout-0"), 1);
    EXPECT_EQ(run.Respawns("rollout-1"), 1);
    EXPECT_GE(run.LostInGeneration(), 1);
    EXPECT_GE(run.LostAfterReport(), 1);
  }
}

// Moments are drawn over the time that the undisturbed run trained; the seed is printed.
TEST(KilledWorkerTest, RolloutWorkerKilledThreeTimes_AtDrawnMoments_SameWeights) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  JobOptions options = Lag(1);
  options.steps = 40;
  SmallRun undisturbed("measured", options);
  ASSERT_EQ(undisturbed.Start(), 0) << undisturbed.output();
  const double trained_ms = undisturbed.Journal("SELECT MAX(unix_ms) - MIN(unix_ms) FROM commits");
  CounterRng rng(seed, RngPurpose::kData, 0);
  std::vector<absl::Duration> moments;
  for (int i = 0; i < 3; ++i)
    moments.push_back(absl::Milliseconds(trained_ms * 0.8 * rng.NextUniform()));
  std::sort(moments.begin(), moments.end());

  SmallRun run("killed-thrice", options);
  const std::unique_ptr<ChildProcess> child = run.Launch();
  ASSERT_TRUE(WaitFor([&] { return run.Commits() >= 1; }));
  const absl::Duration began = Clock::Real()->Now();
  for (int kills = 0; kills < 3; ++kills) {
    ASSERT_TRUE(WaitFor([&] { return Clock::Real()->Now() - began >= moments[kills]; }));
    const pid_t pid = run.PidOf("rollout-0");
    ASSERT_GT(pid, 0);
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    ASSERT_TRUE(WaitFor([&] { return run.Respawns("rollout-0") == kills + 1; }));
  }
  EXPECT_LT(run.Commits(), options.steps) << "the kills came after the work";
  ASSERT_EQ(child->Wait(), 0) << child->output();
  EXPECT_EQ(run.Respawns("rollout-0"), 3);
  EXPECT_THAT(child->output(), HasSubstr("final weights: " + undisturbed.FinalWeights()));
}

TEST(KilledWorkerTest, ScorerKilled_MidBundle_SameWeights) {
  SmallRun run("scorer-killed", Lag(0));
  ASSERT_EQ(run.Start({"--failpoint", "scorer-0:scorer.micro_batch=kill@6"}), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(0)));
  EXPECT_EQ(run.Respawns("scorer-0"), 1);
}

// A rank that waits for a stopped one computes nothing: that is no progress, either.
TEST(KilledWorkerTest, WorkersStopped_MidWork_ReplacedWithinTheirLeases) {
  JobOptions options;
  options.learner_ranks = 2;
  SmallRun run("stopped", options);
  ASSERT_EQ(run.Start({"--failpoint", "rollout-0:rollout.generate=stop@40", "--failpoint",
                       "learner-1:learner.micro_batch=stop@20"}),
            0)
      << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(options));
  EXPECT_EQ(run.Respawns("rollout-0"), 1);
  EXPECT_EQ(run.Respawns("learner-1"), 1);
}

// Whoever waits for its artifact is not to blame, however long that takes.
TEST(KilledWorkerTest, HolderStopped_AfterReport_HolderIsReplacedAndNobodyElse) {
  SmallRun run("holder-stopped", Lag(0));
  // After the last bundle of the second step: the learner is connected already.
  ASSERT_EQ(run.Start({"--failpoint", "scorer-0:scorer.after_report=stop@8"}), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("replacing scorer-0: a learner cannot fetch it"));
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(0)));
  EXPECT_EQ(run.Respawns("scorer-0"), 1);
  EXPECT_EQ(run.Respawns("learner-0"), 0);
  EXPECT_EQ(run.Respawns("rollout-0"), 0);
}

TEST(KilledWorkerTest, LearnerKilled_MidStep_RewoundToSameWeights) {
  JobOptions options;
  options.learner_ranks = 2;
  options.rollout_workers = 2;
  SmallRun run("learner-killed", options);
  ASSERT_EQ(run.Start({"--failpoint", "learner-1:learner.micro_batch=kill@20"}), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(options));
  EXPECT_GE(run.Respawns("learner-1"), 1);
  EXPECT_GE(run.Journal("SELECT COUNT(*) FROM epochs"), 2);
}

}  // namespace
}  // namespace retort::e2e
