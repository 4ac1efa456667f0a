// `retort run` killed or ended by a signal at any moment, then resumed: the weights of an
// undisturbed run. What a resume needs is missed when it is gone.
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "driver/store/journal_schema.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;

TEST(KilledRunTest, Sft_Resumed_SameWeights) {
  JobOptions options;
  options.algorithm = "sft";
  options.learner_ranks = 2;
  const std::string want = UndisturbedWeights(options);
  SmallRun run("sft-resumed", options);
  EXPECT_EQ(run.Start({"--failpoint", "driver:driver.journal.before_commit=kill@4"}),
            128 + SIGKILL);
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), want);
}

TEST(KilledRunTest, RunKilled_MidStepThenResumed_SameWeights) {
  for (const int lag : {0, 1}) {
    JobOptions options = Lag(lag);
    options.steps = 12;
    const std::string name = absl::StrCat("run-killed-", lag);
    SmallRun run(name, options);
    const std::unique_ptr<ChildProcess> child = run.Launch();
    ASSERT_TRUE(WaitFor([&] { return run.Commits() >= 3; }));
    ASSERT_EQ(kill(child->pid(), SIGKILL), 0);
    EXPECT_EQ(child->Wait(), 128 + SIGKILL);
    EXPECT_TRUE(WaitFor([&] { return run.Processes().empty(); }));  // Nobody outlives the driver.
    EXPECT_LT(run.Commits(), 12);
    ASSERT_EQ(run.Resume(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(options));
  }
}

// The two sides of the driver's own point of no return.
TEST(KilledRunTest, RunKilled_BeforeAndAfterACommit_SameWeights) {
  for (const char* point : {"before", "after"}) {
    SmallRun run(absl::StrCat("killed-", point, "-commit"), Lag(1));
    const std::string failpoint = absl::StrCat("driver:driver.journal.", point, "_commit=kill@20");
    EXPECT_EQ(run.Start({"--failpoint", failpoint}), 128 + SIGKILL) << run.output();
    ASSERT_EQ(run.Resume(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(1)));
  }
}

// Killed before its first epoch is on disk: there is nothing to resume, and the job starts anew.
TEST(KilledRunTest, RunKilled_BeforeItBegan_TheSameCommandStartsAnew) {
  SmallRun run("killed-at-start", Lag(0));
  ASSERT_EQ(run.Start({"--failpoint", "driver:driver.journal.before_commit=kill@1"}),
            128 + SIGKILL);
  EXPECT_NE(run.Resume(), 0);
  EXPECT_THAT(run.output(), HasSubstr("nothing had begun"));
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(0)));
}

TEST(KilledRunTest, RunTerminated_FinishesTheStepAndResumesToSameWeights) {
  JobOptions options = Lag(1);
  options.steps = 12;
  SmallRun run("terminated", options);
  const std::unique_ptr<ChildProcess> child = run.Launch();
  ASSERT_TRUE(WaitFor([&] { return run.Commits() >= 3; }));
  ASSERT_EQ(kill(child->pid(), SIGTERM), 0);
  EXPECT_EQ(child->Wait(), 128 + SIGTERM);
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(options));
}

// A resume needs every table: without any one of them it names it and starts nothing.
TEST(KilledRunTest, JournalTableGone_ResumeNamesIt_BackAgain_SameWeights) {
  SmallRun run("tables", Lag(0));
  ASSERT_EQ(run.Start({"--failpoint", "driver:driver.journal.before_commit=kill@12"}),
            128 + SIGKILL);
  for (const std::string& table : driver::JournalTables()) {
    ASSERT_TRUE(run.Change(absl::StrCat("ALTER TABLE ", table, " RENAME TO hidden")).ok());
    EXPECT_NE(run.Resume(), 0) << table;
    EXPECT_THAT(run.output(), HasSubstr(absl::StrCat("table \"", table, "\" is missing")));
    ASSERT_TRUE(run.Change(absl::StrCat("ALTER TABLE hidden RENAME TO ", table)).ok());
  }
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(0)));
}

TEST(KilledRunTest, Resume_TakesNothingOnTrust) {
  SmallRun run("distrust", Lag(0));
  ASSERT_EQ(run.Start({"--failpoint", "driver:driver.journal.before_commit=kill@20"}),
            128 + SIGKILL);
  ASSERT_GE(run.Commits(), 1);
  const std::string data = TaskFolder() + "/train.jsonl";
  const std::string rows = ReadFile(data, 1 << 30).value();
  ASSERT_TRUE(WriteFileAtomically(data, rows + rows.substr(0, rows.find('\n') + 1)).ok());
  EXPECT_NE(run.Resume(), 0);
  EXPECT_THAT(run.output(), HasSubstr("cannot resume: data.train is "));
  ASSERT_TRUE(WriteFileAtomically(data, rows).ok());

  const std::string incarnation(32, 'e');
  {
    const ChildProcess orphan({"sh", "-c", "while :; do sleep 1; done", incarnation});
    ASSERT_TRUE(run.Change(absl::StrCat("INSERT INTO workers (worker, incarnation, event, pid, "
                                        "cause, unix_ms) VALUES ('rollout-0', '",
                                        incarnation, "', 'joined', ", orphan.pid(), ", '', 0)"))
                    .ok());
    EXPECT_NE(run.Resume(), 0);
    EXPECT_THAT(run.output(),
                HasSubstr(absl::StrCat("rollout-0 of the run before still lives as process ",
                                       orphan.pid())));
  }

  const std::string file = run.folder() + "/metrics.jsonl";
  ASSERT_TRUE(WriteFileAtomically(file, "{\"step\": 0, \"lo").ok());
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Lag(0)));
  const std::string text = ReadFile(file, 1 << 30).value();
  size_t place = 0;
  for (const v1::StepRecord& step : run.Steps()) {
    const size_t next = text.find(step.weight_digest(), place);
    ASSERT_NE(next, std::string::npos) << "step " << step.step() << " is missing in " << text;
    place = next + 1;
  }
  EXPECT_EQ(text.find("\"lo{"), std::string::npos) << "what was torn is written again";
}

}  // namespace
}  // namespace retort::e2e
