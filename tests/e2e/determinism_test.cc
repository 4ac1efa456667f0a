// The final weights are a function of the job: not of time, of how many workers there are, or of
// who was killed.
#include <signal.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;

class DeterminismTest : public testing::Test {
 protected:
  // Final weights of an undisturbed run; made once a process for each set of options.
  static std::string Undisturbed(const std::string& kind, const JobOptions& options) {
    static auto& known = *new std::map<std::string, std::string>;
    if (!known.contains(kind)) {
      SmallRun run(absl::StrCat("undisturbed-", kind), options);
      EXPECT_EQ(run.Start(), 0) << run.output();
      known[kind] = run.FinalWeights();
    }
    EXPECT_EQ(known[kind].size(), 32);
    return known[kind];
  }
  static JobOptions Lag(int lag) {
    JobOptions options;
    options.lag = lag;
    return options;
  }
  static JobOptions Ranks(int ranks, int rollout_workers) {
    JobOptions options;
    options.learner_ranks = ranks;
    options.rollout_workers = rollout_workers;
    return options;
  }
  // How often a place was filled again.
  static int64_t Respawns(const SmallRun& run, const std::string& worker) {
    return run.Journal(absl::StrCat("SELECT COUNT(*) - 1 FROM workers WHERE worker='", worker,
                                    "' AND event='joined'"));
  }
};

TEST_F(DeterminismTest, SameSeed_Twice_SameWeights) {
  SmallRun run("again", Lag(0));
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), Undisturbed("lag0", Lag(0)));
  // Nothing but metadata and a few sample texts went through the driver.
  EXPECT_LT(run.Journal("SELECT MAX(received_bytes) FROM commits"), 64 << 10);
}

TEST_F(DeterminismTest, OtherSeed_OtherWeights) {
  SmallRun run("other-seed", Lag(0));
  ASSERT_EQ(run.Start({"--set", "seed=6"}), 0) << run.output();
  EXPECT_NE(run.FinalWeights(), Undisturbed("lag0", Lag(0)));
}

TEST_F(DeterminismTest, ThreeRolloutWorkers_SameWeightsAsOne) {
  for (const int lag : {0, 1}) {
    JobOptions options = Lag(lag);
    options.rollout_workers = 3;
    SmallRun run(absl::StrCat("three-workers-", lag), options);
    ASSERT_EQ(run.Start(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), Undisturbed(absl::StrCat("lag", lag), Lag(lag)));
  }
}

TEST_F(DeterminismTest, OneStepOff_Twice_SameWeightsAndNotThoseOfOnPolicy) {
  SmallRun run("lag-again", Lag(1));
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), Undisturbed("lag1", Lag(1)));
  EXPECT_NE(run.FinalWeights(), Undisturbed("lag0", Lag(0)));
}

TEST_F(DeterminismTest, TruncatedSampling_AnyNumberOfWorkers_SameWeights) {
  JobOptions options;
  options.sampling = "temperature: 0.7, top_k: 8, top_p: 0.9";
  const std::string want = Undisturbed("truncated", options);
  options.rollout_workers = 2;
  SmallRun run("truncated-two", options);
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), want);
}

TEST_F(DeterminismTest, Sft_Resumed_SameWeights) {
  JobOptions options;
  options.algorithm = "sft";
  options.learner_ranks = 2;
  const std::string want = Undisturbed("sft", options);
  SmallRun run("sft-resumed", options);
  EXPECT_EQ(run.Start({"--failpoint", "driver:driver.journal.before_commit=kill@4"}),
            128 + SIGKILL);
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), want);
}

TEST_F(DeterminismTest, RolloutWorkerKilled_DuringGenerationAndAfterReport_SameWeights) {
  for (const int lag : {0, 1}) {
    JobOptions options = Lag(lag);
    options.rollout_workers = 2;
    SmallRun run(absl::StrCat("rollout-killed-", lag), options);
    ASSERT_EQ(run.Start({"--failpoint", "rollout-0:rollout.generate=kill@150", "--failpoint",
                         "rollout-1:rollout.after_report=kill@3"}),
              0)
        << run.output();
    EXPECT_EQ(run.FinalWeights(), Undisturbed(absl::StrCat("lag", lag), Lag(lag)));
    EXPECT_EQ(Respawns(run, "rollout-0"), 1);
    EXPECT_EQ(Respawns(run, "rollout-1"), 1);
    EXPECT_GE(run.Journal("SELECT COUNT(*) FROM bundles WHERE event='lost'"), 1);
  }
}

TEST_F(DeterminismTest, RolloutWorkerKilledThreeTimes_AtRandom_SameWeights) {
  const uint64_t seed = 20260101;
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  CounterRng rng(seed, RngPurpose::kData, 0);
  JobOptions options = Lag(1);
  options.steps = 40;
  const std::string want = Undisturbed("forty", options);
  options.rollout_workers = 2;
  SmallRun run("killed-thrice", options);
  const std::unique_ptr<ChildProcess> child =
      run.Launch({absl::StrCat(TaskFolder(), "/killed-thrice.yaml")});
  int64_t at_step = 0;
  for (int kills = 1; kills <= 3; ++kills) {
    at_step += 1 + static_cast<int64_t>(rng.NextBelow(5));
    ASSERT_TRUE(WaitFor([&] { return run.Commits() >= at_step && run.PidOf("rollout-0") > 0; }));
    ASSERT_EQ(kill(run.PidOf("rollout-0"), SIGKILL), 0);
    ASSERT_TRUE(WaitFor([&] { return Respawns(run, "rollout-0") == kills; }));
  }
  ASSERT_EQ(child->Wait(), 0) << child->output();
  EXPECT_THAT(child->output(), HasSubstr("final weights: " + want));
}

TEST_F(DeterminismTest, ScorerKilled_MidBundle_SameWeights) {
  SmallRun run("scorer-killed", Lag(0));
  ASSERT_EQ(run.Start({"--failpoint", "scorer-0:scorer.micro_batch=kill@6"}), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), Undisturbed("lag0", Lag(0)));
  EXPECT_EQ(Respawns(run, "scorer-0"), 1);
}

TEST_F(DeterminismTest, LearnerKilled_MidStep_RewoundToSameWeights) {
  const JobOptions options = Ranks(2, 2);
  SmallRun run("learner-killed", options);
  ASSERT_EQ(run.Start({"--failpoint", "learner-1:learner.micro_batch=kill@20"}), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), Undisturbed("two-ranks", options));
  EXPECT_GE(Respawns(run, "learner-1"), 1);
  EXPECT_GE(run.Journal("SELECT COUNT(*) FROM epochs"), 2);
}

TEST_F(DeterminismTest, RunKilled_MidStepThenResumed_SameWeights) {
  for (const int lag : {0, 1}) {
    JobOptions options = Lag(lag);
    options.steps = 12;
    const std::string name = absl::StrCat("run-killed-", lag);
    SmallRun run(name, options);
    const std::unique_ptr<ChildProcess> child =
        run.Launch({absl::StrCat(TaskFolder(), "/", name, ".yaml")});
    ASSERT_TRUE(WaitFor([&] { return run.Commits() >= 3; }));
    ASSERT_EQ(kill(child->pid(), SIGKILL), 0);
    EXPECT_EQ(child->Wait(), 128 + SIGKILL);
    EXPECT_TRUE(WaitFor([&] { return run.Processes().empty(); }));  // Nobody outlives the driver.
    EXPECT_LT(run.Commits(), 12);
    ASSERT_EQ(run.Resume(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), Undisturbed(absl::StrCat("twelve-", lag), options));
  }
}

// The two sides of the driver's own point of no return.
TEST_F(DeterminismTest, RunKilled_BeforeAndAfterACommit_SameWeights) {
  for (const char* point : {"before", "after"}) {
    SmallRun run(absl::StrCat("killed-", point, "-commit"), Lag(1));
    const std::string failpoint = absl::StrCat("driver:driver.journal.", point, "_commit=kill@20");
    EXPECT_EQ(run.Start({"--failpoint", failpoint}), 128 + SIGKILL) << run.output();
    ASSERT_EQ(run.Resume(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), Undisturbed("lag1", Lag(1)));
  }
}

TEST_F(DeterminismTest, RunTerminated_FinishesTheStepAndResumesToSameWeights) {
  JobOptions options = Lag(1);
  options.steps = 12;
  SmallRun run("terminated", options);
  const std::unique_ptr<ChildProcess> child =
      run.Launch({absl::StrCat(TaskFolder(), "/terminated.yaml")});
  ASSERT_TRUE(WaitFor([&] { return run.Commits() >= 3; }));
  ASSERT_EQ(kill(child->pid(), SIGTERM), 0);
  EXPECT_EQ(child->Wait(), 128 + SIGTERM);
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), Undisturbed("twelve-1", options));
}

}  // namespace
}  // namespace retort::e2e
