// The whole driver over real gRPC, journal and files, with workers that are threads.
#include "driver/service/driver_loop.h"

#include <atomic>
#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "common/base/random_id.h"
#include "common/metrics/record_json.h"
#include "common/rpc/build_version.h"
#include "driver/store/resume_check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_worker.h"

namespace retort::driver {
namespace {

namespace fs = std::filesystem;
using testing::FakeFate;
using ::testing::HasSubstr;

ScheduleConfig SmallJob(int lag) {
  ScheduleConfig config;
  config.steps = 8;
  config.lag = lag;
  config.slots_per_step = 6;
  config.samples_per_slot = 2;
  config.bundle_slots = 2;
  config.eval_every = 4;
  config.eval_rows = 5;
  config.eval_bundle_rows = 2;
  config.checkpoint_every = 3;
  config.rollouts = 2;
  config.scorers = 1;
  config.learners = 2;
  config.rows_of_step = [](int64_t step) {
    std::vector<int64_t> rows(6);
    for (int i = 0; i < 6; ++i) rows[i] = step * 6 + i;
    return rows;
  };
  return config;
}

// The real clock, and the time that a test says has passed.
class JumpingClock : public Clock {
 public:
  absl::Duration Now() override { return Clock::Real()->Now() + passed_; }
  void StandStill(absl::Duration duration) { passed_ += duration; }

 private:
  absl::Duration passed_ = absl::ZeroDuration();
};

class DriverLoopTest : public ::testing::Test, public RunObserver {
 protected:
  DriverLoopTest() : dir_(fs::temp_directory_path() / ("loop-" + RandomHex(8))) {}
  ~DriverLoopTest() override { fs::remove_all(dir_); }

  void OnStep(const v1::StepRecord& record) override {
    steps_.push_back(record.step());
    if (record.step() == slow_step_) clock_.StandStill(absl::Milliseconds(1500));
    if (record.step() + 1 == stop_after_) stop_signals_ = 1;
  }
  void OnEval(const v1::EvalRecord& record) override { evals_.push_back(record.version()); }
  void OnNote(absl::string_view line) override { notes_.emplace_back(line); }

  // A run in dir_: new, or resumed if it holds one.
  RunResult Run(ScheduleConfig config) {
    const bool resume = fs::exists(dir_ / "journal.db");
    auto folder = resume ? RunFolder::Open(dir_) : RunFolder::Create(dir_);
    EXPECT_TRUE(folder.ok()) << folder.status();
    auto journal = resume ? Journal::Open(folder->journal())
                          : Journal::Create(folder->journal(), {"job", v1::JobSpec(), {}});
    EXPECT_TRUE(journal.ok()) << journal.status();
    DriverLoopOptions options;
    if (resume) {
      auto history = (*journal)->ReadHistory(config.TrainBundles());
      EXPECT_TRUE(history.ok()) << history.status();
      EXPECT_TRUE(CheckResumable(**journal, config, *history).ok());
      options.history = *std::move(history);
    }
    auto metrics = metrics::JsonlWriter::Open(folder->metrics());
    EXPECT_TRUE(metrics.ok());
    options.job_id = "job";
    options.schedule = config;
    options.folder = &*folder;
    options.journal = journal->get();
    options.metrics = &*metrics;
    options.clock = &clock_;
    options.observer = this;
    options.stop_signals = &stop_signals_;
    options.tick = absl::Milliseconds(10);
    options.external = external_;
    options.inputs = {{"policy.weights", "0123"}};
    const rpc::AccessToken token = rpc::AccessToken::Generate();
    DriverLoop loop(std::move(options));
    const auto service = rpc::AttachService::Make(
        token, [&loop](rpc::AttachEvent event) { loop.Deliver(std::move(event)); });
    rpc::ServerOptions server_options;
    server_options.services = {service.get()};
    auto server = rpc::Server::Start(server_options);
    EXPECT_TRUE(server.ok()) << server.status();
    testing::FakeWorkerOptions worker;
    worker.address = (*server)->address();
    worker.token = token;
    worker.disk = disk_;
    worker.samples_per_slot = config.samples_per_slot;
    worker.lag = config.lag;
    worker.fate = fate_;
    worker.welcomed = welcomed_;
    RunResult result;
    {
      testing::FakeFleet fleet(worker);
      std::vector<std::unique_ptr<testing::FakeWorker>> ranks;
      for (int rank = 0; external_ && rank < external_ranks_; ++rank) {
        v1::Hello hello;
        hello.set_mpi_rank(rank);
        hello.set_mpi_world_size(external_ranks_);
        hello.set_incarnation(RandomHex(16));
        hello.set_build(std::string(rpc::BuildVersion()));
        hello.set_host("here");
        hello.set_pid(rank + 1);
        hello.set_artifact_address("127.0.0.1:9999");
        ranks.push_back(std::make_unique<testing::FakeWorker>(worker, hello, nullptr));
      }
      result = loop.Run(service.get(), external_ ? nullptr : &fleet);
      spawned_ = fleet.spawned();
    }
    (*server)->Shutdown(absl::Seconds(1));
    return result;
  }

  const fs::path dir_;
  std::shared_ptr<testing::FakeDisk> disk_ = std::make_shared<testing::FakeDisk>();
  std::function<FakeFate(const WorkerId&, const v1::DriverMessage&)> fate_;
  std::function<void(const v1::Welcome&)> welcomed_;
  std::atomic<int> stop_signals_{0};
  int64_t stop_after_ = -1;
  JumpingClock clock_;      // Of the driver; used on its thread.
  int64_t slow_step_ = -1;  // The driver's thread stands still after its commit.
  bool external_ = false;
  int external_ranks_ = 5;
  int spawned_ = 0;
  std::vector<int64_t> steps_, evals_;
  std::vector<std::string> notes_;
};

// The final weights of an undisturbed run: a constant of the job.
std::string CalmDigest(int lag) {
  static std::map<int, std::string> known;
  class Calm : public DriverLoopTest {
   public:
    void TestBody() override {}
    RunResult Go(int lag) { return Run(SmallJob(lag)); }
  };
  if (!known.contains(lag)) known[lag] = Calm().Go(lag).weight_digest;
  return known[lag];
}

TEST_F(DriverLoopTest, Undisturbed_EveryStepIsCommittedMeasuredAndJournaled) {
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
  EXPECT_THAT(steps_, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(evals_, ::testing::UnorderedElementsAre(0, 4, 8));
  EXPECT_EQ(spawned_, 5);
  const auto metrics = metrics::ReadMetrics(dir_ / "metrics.jsonl");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  ASSERT_EQ(metrics->steps.size(), 8u);
  EXPECT_EQ(metrics->steps[7].weight_digest(), result.weight_digest);
  EXPECT_GT(metrics->steps[7].phase_seconds().at("step"), 0);
  EXPECT_EQ(metrics->evals.size(), 3u);
  auto database = Database::Open(dir_ / "journal.db");
  ASSERT_TRUE(database.ok());
  auto bytes = (*database)->Prepare("SELECT MAX(received_bytes), MIN(received_bytes) FROM commits");
  ASSERT_TRUE(bytes->Step().ok());
  EXPECT_LT(bytes->Int(0), 64 << 10);
  EXPECT_GT(bytes->Int(1), 0);
}

TEST_F(DriverLoopTest, RolloutWorkersDie_SameWeightsAndTheJournalSaysWhen) {
  std::atomic<int> leases{0};
  fate_ = [&leases](const WorkerId& worker, const v1::DriverMessage& command) {
    if (worker.role != v1::ROLE_ROLLOUT || !command.has_rollout_lease()) return FakeFate::kLive;
    const int lease = ++leases;
    if (lease == 3 || lease == 9) return FakeFate::kDie;
    return lease == 6 ? FakeFate::kDieAfter : FakeFate::kLive;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
  EXPECT_EQ(spawned_, 5 + 3);
  auto database = Database::Open(dir_ / "journal.db");
  auto lost = (*database)->Prepare("SELECT COUNT(*) FROM bundles WHERE event='lost'");
  ASSERT_TRUE(lost->Step().ok());
  EXPECT_GE(lost->Int(0), 2);
}

TEST_F(DriverLoopTest, LearnerRankDies_AllRanksRestartFromTheCheckpointAndRepeat) {
  std::atomic<bool> died{false};
  fate_ = [&died](const WorkerId& worker, const v1::DriverMessage& command) {
    const bool now = worker == WorkerId{v1::ROLE_LEARNER, 1} && command.has_train_step() &&
                     command.train_step().fence().step() == 4 && !died.exchange(true);
    return now ? FakeFate::kDie : FakeFate::kLive;
  };
  const RunResult result = Run(SmallJob(1));
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(1));
  EXPECT_EQ(spawned_, 5 + 2);
  EXPECT_THAT(steps_, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7))
      << "replayed steps are not repeated";
  EXPECT_THAT(notes_, ::testing::Contains(HasSubstr("going on from step 3")));
}

TEST_F(DriverLoopTest, WorkerHangs_IsReplacedAfterItsLease) {
  std::atomic<bool> hung{false};
  fate_ = [&hung](const WorkerId& worker, const v1::DriverMessage& command) {
    const bool now =
        worker.role == v1::ROLE_SCORER && command.has_score_lease() && !hung.exchange(true);
    return now ? FakeFate::kHang : FakeFate::kLive;
  };
  ScheduleConfig config = SmallJob(0);
  config.lease_floor_seconds = 1;
  const RunResult result = Run(config);
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
  EXPECT_GE(spawned_, 6);
  EXPECT_THAT(notes_, ::testing::Contains(HasSubstr("lease_expired")));
}

TEST_F(DriverLoopTest, DriverStandsStill_NoWorkerIsBlamed) {
  slow_step_ = 3;
  ScheduleConfig config = SmallJob(0);
  config.lease_floor_seconds = 1;
  const RunResult result = Run(config);
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
  EXPECT_EQ(spawned_, 5);
  EXPECT_THAT(notes_, ::testing::Not(::testing::Contains(HasSubstr("lease_expired"))));
}

TEST_F(DriverLoopTest, StopSignal_ChecksPointsAndResumesToTheSameWeights) {
  for (const int lag : {0, 1}) {
    fs::remove_all(dir_);
    steps_.clear();
    stop_after_ = 5;
    stop_signals_ = 0;
    const RunResult stopped = Run(SmallJob(lag));
    ASSERT_EQ(stopped.end, RunEnd::kStopped) << stopped.message;
    EXPECT_GE(stopped.next_step, 5);
    EXPECT_EQ(stopped.checkpoint_step, stopped.next_step);
    stop_after_ = -1;
    stop_signals_ = 0;
    const RunResult resumed = Run(SmallJob(lag));
    ASSERT_EQ(resumed.end, RunEnd::kDone) << resumed.message;
    EXPECT_EQ(resumed.weight_digest, CalmDigest(lag));
    EXPECT_EQ(steps_.size(), 8u);
  }
}

TEST_F(DriverLoopTest, CheckpointUnusable_KeptAsideAndTheOneBeforeUsed) {
  stop_after_ = 7;  // Checkpoints of steps 6 and 7, or later ones, are kept.
  const RunResult stopped = Run(SmallJob(0));
  ASSERT_EQ(stopped.end, RunEnd::kStopped) << stopped.message;
  stop_after_ = -1;
  stop_signals_ = 0;
  const std::string newest = CheckpointName(stopped.checkpoint_step);
  fs::create_directories(dir_ / "checkpoints" / newest);
  std::ofstream(dir_ / "checkpoints" / newest / "shard-0") << "torn";
  fate_ = [&newest](const WorkerId&, const v1::DriverMessage& command) {
    return command.has_form_group() && command.form_group().checkpoint() == newest
               ? FakeFate::kDataLoss
               : FakeFate::kLive;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
  EXPECT_TRUE(fs::exists(dir_ / "unusable" / newest / "shard-0"));
  EXPECT_THAT(notes_, ::testing::Contains(HasSubstr("it is kept in " + dir_.string())));
}

// A place can be filled again long after the run began.
TEST_F(DriverLoopTest, EveryWorker_LearnsWhatItsFilesMustBe) {
  std::atomic<int> told{0};
  welcomed_ = [&told](const v1::Welcome& welcome) {
    const auto found = welcome.inputs().find("policy.weights");
    told += found != welcome.inputs().end() && found->second == "0123";
  };
  for (const bool external : {false, true}) {
    fs::remove_all(dir_);
    external_ = external;
    told = 0;
    ASSERT_EQ(Run(SmallJob(0)).end, RunEnd::kDone);
    EXPECT_EQ(told, 5);
  }
}

TEST_F(DriverLoopTest, WorkerThatAlwaysDies_FailsWithItsLog) {
  fate_ = [this](const WorkerId& worker, const v1::DriverMessage& command) {
    if (worker.role != v1::ROLE_SCORER || !command.has_score_lease()) return FakeFate::kLive;
    std::ofstream(dir_ / "logs" / "scorer-0.log") << "one\nout of memory\n";
    return FakeFate::kDie;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kFailed);
  EXPECT_THAT(result.message, HasSubstr("scorer-0 died 5 times"));
  EXPECT_THAT(result.log_tail, HasSubstr("out of memory"));
  EXPECT_FALSE(result.bad_input);
}

// Between two deaths the group forms, restores and repeats step 3: that is no progress.
TEST_F(DriverLoopTest, LearnerThatAlwaysDiesAtOneStep_EndsTheRun) {
  fate_ = [](const WorkerId& worker, const v1::DriverMessage& command) {
    const bool now = worker == WorkerId{v1::ROLE_LEARNER, 1} && command.has_train_step() &&
                     command.train_step().fence().step() == 4;
    return now ? FakeFate::kDie : FakeFate::kLive;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kFailed);
  EXPECT_THAT(result.message, HasSubstr("learner-1 died 5 times"));
  EXPECT_FALSE(result.bad_input);
  EXPECT_EQ(result.next_step, 4);
}

TEST_F(DriverLoopTest, ExportThatAlwaysFails_EndsTheRun) {
  fate_ = [](const WorkerId&, const v1::DriverMessage& command) {
    return command.has_export_model() ? FakeFate::kDie : FakeFate::kLive;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kFailed);
  EXPECT_THAT(result.message, HasSubstr("learner-0 died 5 times"));
  EXPECT_FALSE(result.bad_input) << "exit status 1: the same job may work elsewhere";
  EXPECT_EQ(result.next_step, 8);
}

// New steps in between forgive every death.
TEST_F(DriverLoopTest, LearnerDiesOnceAtEveryStep_TheRunGoesOn) {
  std::atomic<int64_t> next{0};
  fate_ = [&next](const WorkerId& worker, const v1::DriverMessage& command) {
    if (worker != WorkerId{v1::ROLE_LEARNER, 0} || !command.has_train_step()) {
      return FakeFate::kLive;
    }
    int64_t step = command.train_step().fence().step();
    return next.compare_exchange_strong(step, step + 1) ? FakeFate::kDie : FakeFate::kLive;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
  EXPECT_EQ(next, 8);
}

TEST_F(DriverLoopTest, WorkerThatCannotUseItsInput_FailsAtOnce) {
  fate_ = [this](const WorkerId& worker, const v1::DriverMessage& command) {
    if (worker != WorkerId{v1::ROLE_LEARNER, 1} || !command.has_form_group())
      return FakeFate::kLive;
    std::ofstream(dir_ / "logs" / "learner-1.log")
        << "started\nretort-worker: DATA_LOSS: model.safetensors: 3 bytes, expected 9\n";
    return FakeFate::kBadInput;
  };
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kFailed);
  EXPECT_TRUE(result.bad_input);
  EXPECT_EQ(result.message, "model.safetensors: 3 bytes, expected 9");
  EXPECT_EQ(result.next_step, 0);
  EXPECT_LE(spawned_, 6) << "at most the peer was started again";
}

TEST_F(DriverLoopTest, ExternalRanks_GetRolesAndRunTheSameJob) {
  external_ = true;
  const RunResult result = Run(SmallJob(0));
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(result.weight_digest, CalmDigest(0));
}

TEST_F(DriverLoopTest, SftWithoutEvaluation_LearnersAlone) {
  ScheduleConfig config = SmallJob(0);
  config.reinforcement = false;
  config.rollouts = config.scorers = 0;
  config.eval_every = 0;
  const RunResult result = Run(config);
  ASSERT_EQ(result.end, RunEnd::kDone) << result.message;
  EXPECT_EQ(spawned_, 2);
  EXPECT_EQ(steps_.size(), 8u);
}

}  // namespace
}  // namespace retort::driver
