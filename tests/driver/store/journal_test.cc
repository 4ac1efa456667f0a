#include "driver/store/journal.h"

#include <sched.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "driver/schedule/scheduler.h"
#include "driver/store/journal_schema.h"
#include "driver/store/resume_check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;

ScheduleConfig SmallConfig() {
  ScheduleConfig config;
  config.steps = 6;
  config.slots_per_step = 4;
  config.bundle_slots = 2;
  config.eval_every = 2;
  config.eval_rows = 4;
  config.eval_bundle_rows = 4;
  config.checkpoint_every = 2;
  return config;
}

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() : dir_(std::filesystem::temp_directory_path() / ("journal-" + RandomHex(8))) {
    std::filesystem::create_directories(dir_);
    path_ = dir_ / "journal.db";
  }
  ~JournalTest() override { std::filesystem::remove_all(dir_); }

  JobIdentity Identity() {
    JobIdentity identity;
    identity.job_id = "abc";
    identity.spec.set_name("a \"quoted\" name\n");
    identity.inputs = {{"data.train", "0123"}, {"build", "retort 0.1.0"}};
    return identity;
  }

  static JournalBundle Reported(int64_t step, int index, int attempt = 1) {
    JournalBundle entry;
    entry.kind = BundleEventKind::kReported;
    entry.bundle.set_kind(v1::BUNDLE_KIND_TRAIN);
    entry.bundle.set_step(step);
    entry.bundle.set_index(index);
    entry.attempt = attempt;
    entry.worker = {v1::ROLE_ROLLOUT, 0};
    entry.digest = Digest{static_cast<uint64_t>(step + 1), static_cast<uint64_t>(index)}.ToHex();
    entry.prompt_lengths = {3, 4};
    entry.response_lengths = {5, 6};
    return entry;
  }

  // Four committed steps, checkpoints at 2 and 4 of which the first is dropped.
  void WriteRun(Journal& journal) {
    ASSERT_TRUE(journal.Write(JournalEpoch{1, 0, "started"}).ok());
    for (const v1::Role role : {v1::ROLE_LEARNER, v1::ROLE_ROLLOUT, v1::ROLE_SCORER}) {
      ASSERT_TRUE(
          journal.Write(WorkerEvent{WorkerEventKind::kJoined, {role, 0}, "nobody", 77, ""}).ok());
    }
    ASSERT_TRUE(journal.Write(JournalCommit{-1, "w0", "", false, {}}, 10).ok());
    for (int64_t step = 0; step < 4; ++step) {
      for (int i = 0; i < 2; ++i) ASSERT_TRUE(journal.Write(Reported(step, i)).ok());
      v1::StepRecord record;
      record.set_step(step);
      (*record.mutable_scalars())["loss"] = 0.1 * step;
      const std::string digest = "w" + std::to_string(step + 1);
      ASSERT_TRUE(journal.Write(JournalCommit{step, digest, "s", step == 3, record}, 100).ok());
      if (step % 2 == 0) {
        v1::EvalRecord eval;
        eval.set_version(step);
        eval.set_exact_match(0.5);
        ASSERT_TRUE(journal.Write(JournalEval{eval}).ok());
      } else {
        const std::string name = CheckpointName(step + 1);
        ASSERT_TRUE(journal.Write(JournalCheckpoint{step + 1, name, "m"}).ok());
      }
    }
    ASSERT_TRUE(journal.Write(DropCheckpoint{"step-2"}).ok());
    ASSERT_TRUE(journal.Flush().ok());
  }

  void MakeRun() {
    auto journal = Journal::Create(path_, Identity());
    ASSERT_TRUE(journal.ok()) << journal.status();
    WriteRun(**journal);
  }

  // What a resume does with the file.
  absl::Status Resume() {
    auto journal = Journal::Open(path_);
    if (!journal.ok()) return journal.status();
    const auto identity = (*journal)->ReadIdentity();
    if (!identity.ok()) return identity.status();
    const auto history = (*journal)->ReadHistory(SmallConfig().TrainBundles());
    if (!history.ok()) return history.status();
    return CheckResumable(**journal, SmallConfig(), *history);
  }

  void Sql(const std::string& sql) {
    auto database = Database::Open(path_);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE((*database)->Execute(sql).ok());
  }

  const std::filesystem::path dir_;
  std::string path_;
};

// Whoever watches the run, such as a status page, never stands in the way of its start.
TEST_F(JournalTest, Create_WhileAnotherConnectionReads_Succeeds) {
  const auto path = [&](int run) { return absl::StrCat(path_, ".", run); };
  std::atomic<int> run = 0;
  std::atomic<int> last_seen = -1;
  std::thread reader([&] {
    while (run >= 0) {
      const int now = run;
      auto database = Database::Open(path(now));
      if (!database.ok()) continue;
      auto rows = (*database)->Prepare("SELECT COUNT(*) FROM epochs");
      if (rows.ok() && rows->Step().value_or(false) && rows->Int(0) == 1) last_seen = now;
    }
  });
  for (; run < 50; ++run) {
    auto journal = Journal::Create(path(run), Identity());
    EXPECT_TRUE(journal.ok()) << journal.status();
    if (!journal.ok()) break;
    EXPECT_TRUE((*journal)->Write(JournalEpoch{1, 0, "started"}).ok());
    EXPECT_TRUE((*journal)->Flush().ok());
    while (last_seen != run) std::this_thread::yield();
  }
  run = -1;
  reader.join();
}

TEST_F(JournalTest, Reopen_GivesBackIdentityAndHistory) {
  MakeRun();
  auto journal = Journal::Open(path_);
  ASSERT_TRUE(journal.ok()) << journal.status();
  const auto identity = (*journal)->ReadIdentity();
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->spec.name(), "a \"quoted\" name\n");
  EXPECT_EQ(identity->inputs, Identity().inputs);
  const auto history = (*journal)->ReadHistory(2);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->epoch, 2u);
  EXPECT_THAT(history->checkpoints, ::testing::ElementsAre(4));
  EXPECT_EQ(history->commits.size(), 5u);
  EXPECT_EQ(history->commits.at(3).weight_digest, "w4");
  EXPECT_TRUE(history->commits.at(3).bad_step);
  EXPECT_TRUE(history->bundles.empty()) << "older than the kept checkpoint";
  EXPECT_TRUE(history->evaluated.contains(2));
  const auto records = (*journal)->ReadStepRecords();
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 4u);
  EXPECT_EQ((*records)[3].step(), 3);
  EXPECT_TRUE(Resume().ok()) << Resume();
}

TEST_F(JournalTest, UnflushedWrites_AreNotThereAfterReopen) {
  MakeRun();
  {
    auto journal = Journal::Open(path_);
    ASSERT_TRUE((*journal)->Write(JournalCommit{4, "w5", "s", false, {}}, 0).ok());
  }
  auto journal = Journal::Open(path_);
  EXPECT_EQ((*journal)->ReadStepRecords()->size(), 4u);
}

TEST_F(JournalTest, AnyTableMissing_ResumeFailsNamingIt) {
  std::vector<std::string> tables = JournalTables();
  tables.push_back("schema_versions");
  EXPECT_EQ(tables.size(), 8u);
  for (const std::string& table : tables) {
    std::filesystem::remove(path_);
    MakeRun();
    Sql("DROP TABLE " + table);
    const absl::Status status = Resume();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << table;
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + table + "\"")) << table;
  }
}

TEST_F(JournalTest, AnyTableEmptied_ResumeFailsNamingIt) {
  for (const std::string& table : JournalTables()) {
    std::filesystem::remove(path_);
    MakeRun();
    Sql("UPDATE checkpoints SET state='kept'");  // The oldest kept one promises bundles from step 2
                                                 // on.
    ASSERT_TRUE(Resume().ok()) << Resume();
    Sql("DELETE FROM " + table);
    const absl::Status status = Resume();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << table;
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + table + "\"")) << table;
  }
}

TEST_F(JournalTest, OneRowMissing_ResumeFails) {
  const char* deletions[] = {
      "DELETE FROM commits WHERE step=1", "DELETE FROM commits WHERE step=-1",
      "DELETE FROM bundles WHERE step=2 AND idx=1", "DELETE FROM evals WHERE version=0",
      "DELETE FROM workers WHERE worker='scorer-0'"};
  for (const char* deletion : deletions) {
    std::filesystem::remove(path_);
    MakeRun();
    Sql("UPDATE checkpoints SET state='kept'");
    Sql(deletion);
    EXPECT_EQ(Resume().code(), absl::StatusCode::kDataLoss) << deletion;
  }
}

TEST_F(JournalTest, OtherSchemaVersion_Refused) {
  MakeRun();
  Sql("UPDATE schema_versions SET version=9 WHERE name='evals'");
  EXPECT_THAT(std::string(Resume().message()), HasSubstr("\"evals\" has schema version 9"));
}

TEST_F(JournalTest, NotADatabase_Refused) {
  std::filesystem::remove(path_);
  FILE* file = fopen(path_.c_str(), "w");
  for (int i = 0; i < 1000; ++i) fputs("no database ", file);
  fclose(file);
  EXPECT_EQ(Journal::Open(path_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(JournalTest, ChangedInput_ResumeRefusedNamingBothValues) {
  JobIdentity now = Identity();
  EXPECT_TRUE(CheckSameInputs(Identity(), now).ok());
  now.inputs["data.train"] = "4567";
  const absl::Status status = CheckSameInputs(Identity(), now);
  EXPECT_THAT(std::string(status.message()), HasSubstr("data.train is 4567 now and was 0123"));
}

TEST_F(JournalTest, OpenWorkers_AreThoseWithoutAnEnd) {
  MakeRun();
  auto journal = Journal::Open(path_);
  const WorkerId worker{v1::ROLE_ROLLOUT, 1};
  ASSERT_TRUE((*journal)->Write(WorkerEvent{WorkerEventKind::kJoined, worker, "x", 5, ""}).ok());
  ASSERT_TRUE((*journal)->Write(WorkerEvent{WorkerEventKind::kLost, worker, "x", 5, "why"}).ok());
  ASSERT_TRUE((*journal)->Write(WorkerEvent{WorkerEventKind::kJoined, worker, "y", 6, ""}).ok());
  const auto open = (*journal)->ReadOpenWorkers();
  ASSERT_TRUE(open.ok()) << open.status();
  ASSERT_EQ(open->size(), 4u);
  EXPECT_EQ(open->back().incarnation, "y");
}

TEST_F(JournalTest, AwaitOrphans_AProcessOfTheRunLives_NamedUntilItHasEnded) {
  MakeRun();
  auto journal = Journal::Open(path_);
  const std::string incarnation = "0x1" + RandomHex(4);  // A time that sleep understands: years.
  ChildProcess orphan({"sleep", incarnation});
  const std::string command = absl::StrCat("/proc/", orphan.pid(), "/cmdline");
  while (!absl::StrContains(ReadFile(command, 1 << 16).value_or(""), incarnation)) sched_yield();
  const WorkerId worker{v1::ROLE_ROLLOUT, 1};
  ASSERT_TRUE(
      (*journal)
          ->Write(WorkerEvent{WorkerEventKind::kJoined, worker, incarnation, orphan.pid(), ""})
          .ok());
  const absl::Status status = AwaitOrphans(**journal, absl::ZeroDuration());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr(absl::StrCat("rollout-1 of the run before still lives as process ", orphan.pid())));
  ASSERT_EQ(kill(orphan.pid(), SIGKILL), 0);
  orphan.Wait();
  EXPECT_TRUE(AwaitOrphans(**journal, absl::ZeroDuration()).ok());
}

}  // namespace
}  // namespace retort::driver
