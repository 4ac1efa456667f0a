// A scheduler with two rollout workers, a scorer and two learners, and what it said to each.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "driver/schedule/scheduler.h"
#include "gtest/gtest.h"

namespace retort::driver {

inline constexpr WorkerId kRollout0{v1::ROLE_ROLLOUT, 0}, kRollout1{v1::ROLE_ROLLOUT, 1};
inline constexpr WorkerId kScorer{v1::ROLE_SCORER, 0};
inline constexpr WorkerId kLearner0{v1::ROLE_LEARNER, 0}, kLearner1{v1::ROLE_LEARNER, 1};

inline ScheduleConfig TwoBundles() {
  ScheduleConfig config;
  config.steps = 5;
  config.slots_per_step = 4;
  config.bundle_slots = 2;
  config.rollouts = 2;
  config.scorers = 1;
  config.learners = 2;
  config.checkpoint_every = 2;
  config.rows_of_step = [](int64_t step) {
    return std::vector<int64_t>{step * 4, step * 4 + 1, step * 4 + 2, step * 4 + 3};
  };
  return config;
}

inline std::string DigestText(uint64_t n) { return Digest{1, n}.ToHex(); }

class SchedulerTest : public ::testing::Test {
 protected:
  void Make(ScheduleConfig config, History history = {}) {
    scheduler_ = std::make_unique<Scheduler>(std::move(config), std::move(history));
    scheduler_->Start(now_);
  }

  // What happens.
  void Handle(const Event& event) {
    now_ += absl::Milliseconds(1);
    last_ = scheduler_->Handle(event, now_);
    for (const Action& action : last_) {
      const auto* send = std::get_if<SendMessage>(&action);
      if (send == nullptr) continue;
      (send->message.has_release_artifacts() ? released_ : sent_)[send->worker] = send->message;
    }
  }
  void Join(WorkerId worker) {
    Attach(worker);
    Load(worker);
  }
  // `worker` says hello, and later that it has loaded its files.
  void Attach(WorkerId worker) {
    incarnations_[worker] = NameOf(worker) + "#" + std::to_string(++joins_);
    Handle(WorkerJoined{worker,
                        incarnations_[worker],
                        {NameOf(worker) + ":1", host_[worker], under_mpirun_.contains(worker)}});
  }
  void Load(WorkerId worker) {
    v1::WorkerMessage message;
    message.mutable_worker_ready();
    Say(worker, message);
  }
  void JoinAll() {
    for (const WorkerId worker : {kRollout0, kRollout1, kScorer, kLearner0, kLearner1})
      Join(worker);
  }
  void Lose(WorkerId worker) {
    Handle(WorkerLost{worker, incarnations_[worker], "killed by signal 9"});
  }
  void Say(WorkerId worker, v1::WorkerMessage message) {
    Handle(WorkerSaid{worker, incarnations_[worker], std::move(message)});
  }
  void Ready(WorkerId learner, int64_t step = 0) {
    v1::WorkerMessage message;
    v1::LearnerReady* ready = message.mutable_learner_ready();
    ready->set_epoch(sent_[learner].form_group().epoch());
    ready->set_generation(sent_[learner].form_group().generation());
    ready->set_step(step);
    ready->set_weight_digest(DigestText(100 + step));
    ready->set_base_digest(base_[learner]);
    for (int64_t version = 0; version <= step; ++version) {
      ready->add_published()->set_version(version);
      ready->mutable_published(version)->set_digest(DigestText(100 + version));
    }
    Say(learner, message);
  }
  void Start() {
    JoinAll();
    Ready(kLearner0);
    Ready(kLearner1);
  }
  // A learner is lost before the first checkpoint: everything is done again in a new epoch.
  void RestartLearners() {
    Lose(kLearner0);
    Join(kLearner0);
    Join(kLearner1);
    Ready(kLearner0);
    Ready(kLearner1);
  }
  // Answers the rollout lease that `worker` has now.
  v1::WorkerMessage RolloutAnswer(WorkerId worker) {
    const v1::RolloutLease& lease = sent_[worker].rollout_lease();
    v1::WorkerMessage message;
    v1::RolloutReport* report = message.mutable_rollout_report();
    *report->mutable_fence() = lease.fence();
    *report->mutable_bundle() = lease.bundle();
    report->set_version(lease.version());
    report->set_version_digest(lease.version_digest());
    if (lease.bundle().kind() == v1::BUNDLE_KIND_EVAL) {
      report->mutable_eval()->set_rows(lease.rows_size());
      return message;
    }
    for (int i = 0; i < lease.rows_size(); ++i) {
      report->add_prompt_lengths(1);
      report->add_response_lengths(2);
    }
    report->mutable_artifact()->set_artifact_id("r" + std::to_string(lease.bundle().index()));
    report->mutable_artifact()->set_address(incarnations_[worker]);
    report->mutable_artifact()->set_digest(DigestText(lease.rows(0)));
    report->mutable_artifact()->set_bytes(10);
    return message;
  }
  void Report(WorkerId worker) { Say(worker, RolloutAnswer(worker)); }
  void Score() {
    const v1::ScoreLease lease = sent_[kScorer].score_lease();
    v1::WorkerMessage message;
    *message.mutable_score_report()->mutable_fence() = lease.fence();
    *message.mutable_score_report()->mutable_bundle() = lease.bundle();
    v1::ArtifactRef* ref = message.mutable_score_report()->mutable_artifact();
    ref->set_artifact_id("s" + std::to_string(lease.bundle().index()));
    ref->set_address(incarnations_[kScorer]);
    ref->set_digest(DigestText(lease.bundle().index()));
    ref->set_bytes(10);
    Say(kScorer, message);
  }
  v1::WorkerMessage TrainAnswer(WorkerId learner) {
    const v1::Fence fence = sent_[learner].train_step().fence();
    v1::WorkerMessage message;
    v1::TrainReport* report = message.mutable_train_report();
    *report->mutable_fence() = fence;
    report->set_rank(learner.index);
    report->mutable_published()->set_version(fence.step() + 1);
    report->mutable_published()->set_digest(DigestText(101 + fence.step()));
    report->set_state_digest("state");
    return message;
  }
  // Both bundles of the next step made, scored, sent to the learners.
  void FillStep() {
    Report(kRollout0);
    Report(kRollout1);
    Score();
    Score();
  }
  // The learners write the checkpoint that they were asked for.
  void WriteCheckpoint() {
    for (const WorkerId learner : {kLearner0, kLearner1}) {
      v1::WorkerMessage message;
      message.mutable_checkpoint_report()->set_epoch(sent_[learner].write_checkpoint().epoch());
      message.mutable_checkpoint_report()->set_step(sent_[learner].write_checkpoint().step());
      Say(learner, message);
    }
  }
  // The learners cannot write the checkpoint that they were asked for.
  void FailCheckpoint() {
    for (const WorkerId learner : {kLearner0, kLearner1}) {
      v1::WorkerMessage message;
      message.mutable_work_failed()->mutable_fence()->set_epoch(
          sent_[learner].write_checkpoint().epoch());
      message.mutable_work_failed()->set_message("no space left on device");
      Say(learner, message);
    }
  }
  void Train() {
    Say(kLearner0, TrainAnswer(kLearner0));
    Say(kLearner1, TrainAnswer(kLearner1));
  }

  // Progress that finished no unit.
  static v1::WorkerMessage BusyFor(const v1::Fence& fence, int64_t busy_ms) {
    v1::WorkerMessage message;
    *message.mutable_progress()->mutable_fence() = fence;
    message.mutable_progress()->set_busy_ms(busy_ms);
    return message;
  }

  // `worker` says that the weights of its lease did not come.
  void FailToFetchWeights(WorkerId worker) {
    v1::WorkerMessage message;
    *message.mutable_fetch_failed()->mutable_fence() = sent_[worker].rollout_lease().fence();
    message.mutable_fetch_failed()->set_message("connection refused");
    Say(worker, message);
  }

  // What it answers.
  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const Action& action : last_) {
      if (const T* one = std::get_if<T>(&action)) found.push_back(*one);
    }
    return found;
  }
  bool Sent(WorkerId worker, v1::DriverMessage::KindCase kind) const {
    for (const SendMessage& send : All<SendMessage>()) {
      if (send.worker == worker && send.message.kind_case() == kind) return true;
    }
    return false;
  }
  std::string Failure() const {
    const auto failed = All<JobFailed>();
    return failed.empty() ? "" : failed[0].message;
  }

  absl::Duration now_ = absl::Seconds(1);
  std::unique_ptr<Scheduler> scheduler_;
  std::map<WorkerId, std::string> incarnations_;
  std::map<WorkerId, std::string>
      base_;  // Digest of a learner's frozen weights; none without LoRA.
  std::map<WorkerId, std::string> host_;  // Identity; one host unless a test says more.
  std::set<WorkerId> under_mpirun_;
  std::map<WorkerId, v1::DriverMessage> sent_;  // The last command to each.
  std::map<WorkerId, v1::DriverMessage> released_;
  std::vector<Action> last_;
  int joins_ = 0;
};

}  // namespace retort::driver
