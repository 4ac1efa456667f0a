// 10,000 workers and 1,000,000 open slots: quadratic work would not end within the time limit.
#include <deque>

#include "driver/schedule/scheduler.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

constexpr int kRollouts = 9000, kScorers = 996, kLearners = 4;

class Crowd {
 public:
  explicit Crowd(ScheduleConfig config) : scheduler_(std::move(config), History()) {
    scheduler_.Start(now_);
  }

  int64_t Run() {
    for (int i = 0; i < kRollouts; ++i) Join({v1::ROLE_ROLLOUT, i});
    for (int i = 0; i < kScorers; ++i) Join({v1::ROLE_SCORER, i});
    for (int i = 0; i < kLearners; ++i) Join({v1::ROLE_LEARNER, i});
    int64_t events = 0;
    for (; !done_ && !inbox_.empty(); ++events) {
      const WorkerSaid next = std::move(inbox_.front());
      inbox_.pop_front();
      now_ += absl::Microseconds(10);
      Feed(next);
      if (events % 10000 == 0) Feed(Tick{});
    }
    return events;
  }
  bool done() const { return done_; }
  int64_t commits() const { return commits_; }

 private:
  void Join(WorkerId worker) {
    Feed(WorkerJoined{worker, "i"});
    WorkerSaid ready{worker, "i", {}};
    ready.message.mutable_worker_ready();
    Feed(ready);
  }
  void Feed(const Event& event) {
    for (const Action& action : scheduler_.Handle(event, now_)) {
      if (const auto* send = std::get_if<SendMessage>(&action)) Answer(send->worker, send->message);
      done_ |= std::holds_alternative<JobDone>(action);
      commits_ += std::holds_alternative<JournalCommit>(action);
    }
  }

  void Answer(WorkerId worker, const v1::DriverMessage& command) {
    WorkerSaid said{worker, "i", {}};
    if (command.has_rollout_lease()) {
      const v1::RolloutLease& lease = command.rollout_lease();
      v1::RolloutReport* report = said.message.mutable_rollout_report();
      *report->mutable_fence() = lease.fence();
      *report->mutable_bundle() = lease.bundle();
      report->set_version(lease.version());
      report->set_version_digest(lease.version_digest());
      for (int i = 0; i < lease.rows_size(); ++i) {
        report->add_prompt_lengths(1);
        report->add_response_lengths(2);
      }
      FillRef(report->mutable_artifact());
    } else if (command.has_score_lease()) {
      *said.message.mutable_score_report()->mutable_fence() = command.score_lease().fence();
      *said.message.mutable_score_report()->mutable_bundle() = command.score_lease().bundle();
      FillRef(said.message.mutable_score_report()->mutable_artifact());
    } else if (command.has_form_group()) {
      v1::LearnerReady* ready = said.message.mutable_learner_ready();
      ready->set_epoch(1);
      ready->set_generation(1);
      ready->set_weight_digest("w0");
      ready->add_published()->set_digest("w0");
    } else if (command.has_train_step()) {
      v1::TrainReport* report = said.message.mutable_train_report();
      *report->mutable_fence() = command.train_step().fence();
      const int64_t version = command.train_step().fence().step() + 1;
      report->mutable_published()->set_version(version);
      report->mutable_published()->set_digest("w" + std::to_string(version));
    } else if (command.has_write_checkpoint()) {
      said.message.mutable_checkpoint_report()->set_epoch(1);
      said.message.mutable_checkpoint_report()->set_step(command.write_checkpoint().step());
    } else if (command.has_export_model()) {
      said.message.mutable_export_report()->set_epoch(1);
      said.message.mutable_export_report()->set_weight_digest("w2");
    } else {
      return;
    }
    inbox_.push_back(std::move(said));
  }

  static void FillRef(v1::ArtifactRef* ref) {
    ref->set_artifact_id("a");
    ref->set_address("10.0.0.1:1");
    ref->set_digest("00000000000000000000000000000001");
    ref->set_bytes(1);
  }

  Scheduler scheduler_;
  std::deque<WorkerSaid> inbox_;
  absl::Duration now_;
  bool done_ = false;
  int64_t commits_ = 0;
};

TEST(ScaleTest, TenThousandWorkersAndAMillionOpenSlots_Commits) {
  ScheduleConfig config;
  config.steps = 2;
  config.lag = 1;  // Both steps are open at once.
  config.slots_per_step = 500'000;
  config.bundle_slots = 8;
  config.rollouts = kRollouts;
  config.scorers = kScorers;
  config.learners = kLearners;
  config.rows_of_step = [](int64_t) { return std::vector<int64_t>(500'000, 1); };
  Crowd crowd(config);
  const int64_t events = crowd.Run();
  EXPECT_TRUE(crowd.done());
  EXPECT_EQ(crowd.commits(), 3) << "the start and two steps";
  EXPECT_GT(events, 250'000);
}

}  // namespace
}  // namespace retort::driver
