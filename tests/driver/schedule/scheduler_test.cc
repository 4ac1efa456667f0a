// One rule of the schedule per test; the simulation covers their combinations.
#include "driver/schedule/scheduler.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr WorkerId kRollout0{v1::ROLE_ROLLOUT, 0}, kRollout1{v1::ROLE_ROLLOUT, 1};
constexpr WorkerId kScorer{v1::ROLE_SCORER, 0};
constexpr WorkerId kLearner0{v1::ROLE_LEARNER, 0}, kLearner1{v1::ROLE_LEARNER, 1};

ScheduleConfig TwoBundles() {
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

std::string DigestText(uint64_t n) { return Digest{1, n}.ToHex(); }

class SchedulerTest : public ::testing::Test {
 protected:
  void Make(ScheduleConfig config) {
    scheduler_ = std::make_unique<Scheduler>(std::move(config), History());
    scheduler_->Start(now_);
  }

  // ---- events
  // -------------------------------------------------------------------------------------
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
    incarnations_[worker] = NameOf(worker) + "#" + std::to_string(++joins_);
    Handle(WorkerJoined{worker, incarnations_[worker], {NameOf(worker) + ":1", host_[worker]}});
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
  void Train() {
    Say(kLearner0, TrainAnswer(kLearner0));
    Say(kLearner1, TrainAnswer(kLearner1));
  }

  // `worker` says that the weights of its lease did not come.
  void FailToFetchWeights(WorkerId worker) {
    v1::WorkerMessage message;
    *message.mutable_fetch_failed()->mutable_fence() = sent_[worker].rollout_lease().fence();
    message.mutable_fetch_failed()->set_message("connection refused");
    Say(worker, message);
  }

  // ---- what came back
  // -----------------------------------------------------------------------------
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
  std::map<WorkerId, std::string> host_;        // Identity; one host unless a test says more.
  std::map<WorkerId, v1::DriverMessage> sent_;  // The last command to each.
  std::map<WorkerId, v1::DriverMessage> released_;
  std::vector<Action> last_;
  int joins_ = 0;
};

TEST_F(SchedulerTest, NothingIsLeasedBeforeVersionZeroIsPublished) {
  Make(TwoBundles());
  Join(kRollout0);
  EXPECT_THAT(last_, IsEmpty());
  Join(kLearner0);
  EXPECT_THAT(last_, IsEmpty()) << "one rank is missing";
  Join(kLearner1);
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kFormGroup));
  EXPECT_EQ(sent_[kLearner1].form_group().rank(), 1);
  EXPECT_EQ(sent_[kLearner1].form_group().world_size(), 2);
  Ready(kLearner0);
  EXPECT_THAT(All<SendMessage>(), IsEmpty());
  Ready(kLearner1);
  EXPECT_TRUE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
}

TEST_F(SchedulerTest, RolloutLease_NamesSlotsRowsVersionAndDigest) {
  Make(TwoBundles());
  Start();
  const v1::RolloutLease& lease = sent_[kRollout1].rollout_lease();
  EXPECT_EQ(lease.bundle().index(), 1);
  EXPECT_EQ(lease.first_slot(), 2);
  EXPECT_THAT(lease.rows(), ElementsAre(2, 3));
  EXPECT_EQ(lease.version(), 0);
  EXPECT_EQ(lease.version_digest(), DigestText(100));
  EXPECT_EQ(lease.fence().attempt(), 1);
  EXPECT_EQ(lease.deadline_ms(), 10000);
}

TEST_F(SchedulerTest, Lag_StepsUpToCurrentPlusLagAreOpenWithTheExactVersion) {
  ScheduleConfig config = TwoBundles();
  config.lag = 1;
  Make(std::move(config));
  Start();
  Report(kRollout0);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().bundle().step(), 1);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().version(), 0) << "max(0, 1 - 1)";
  Report(kRollout1);
  Report(kRollout0);
  EXPECT_FALSE(Sent(kRollout0, v1::DriverMessage::kRolloutLease)) << "step 2 needs version 1";
  for (int i = 0; i < 3; ++i) Score();
  Report(kRollout1);
  Score();
  Train();
  EXPECT_EQ(sent_[kRollout0].rollout_lease().bundle().step(), 2);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().version(), 1);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().version_digest(), DigestText(101));
}

TEST_F(SchedulerTest, TrainStep_AfterEveryBundleIsScoredWithBothReferences) {
  Make(TwoBundles());
  Start();
  Report(kRollout0);
  Report(kRollout1);
  Score();
  EXPECT_FALSE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
  Score();
  ASSERT_TRUE(Sent(kLearner1, v1::DriverMessage::kTrainStep));
  const v1::TrainStep& train = sent_[kLearner1].train_step();
  ASSERT_EQ(train.bundles_size(), 2);
  EXPECT_EQ(train.bundles(1).bundle().index(), 1);
  EXPECT_EQ(train.bundles(1).rollout().artifact_id(), "r1");
  EXPECT_EQ(train.bundles(1).scores().artifact_id(), "s1");
  EXPECT_THAT(train.bundles(0).response_lengths(), ElementsAre(2, 2));
}

TEST_F(SchedulerTest, Commit_WhenAllRanksReported_JournaledThenReleased) {
  Make(TwoBundles());
  Start();
  FillStep();
  Say(kLearner0, TrainAnswer(kLearner0));
  EXPECT_THAT(All<JournalCommit>(), IsEmpty());
  Say(kLearner1, TrainAnswer(kLearner1));
  ASSERT_EQ(All<JournalCommit>().size(), 1u);
  EXPECT_EQ(All<JournalCommit>()[0].weight_digest, DigestText(101));
  const auto commit = std::find_if(last_.begin(), last_.end(), [](const Action& a) {
    return std::holds_alternative<JournalCommit>(a);
  });
  const auto send = std::find_if(last_.begin(), last_.end(), [](const Action& a) {
    return std::holds_alternative<SendMessage>(a);
  });
  EXPECT_LT(commit - last_.begin(), send - last_.begin());
  int released = 0;
  for (const SendMessage& s : All<SendMessage>()) {
    released +=
        s.message.has_release_artifacts() && s.message.release_artifacts().up_to_step() == 0;
  }
  EXPECT_EQ(released, 3) << "two rollout workers and the scorer";
}

TEST_F(SchedulerTest, RanksDisagree_StopsNamingBothDigests) {
  Make(TwoBundles());
  Start();
  FillStep();
  Say(kLearner0, TrainAnswer(kLearner0));
  v1::WorkerMessage other = TrainAnswer(kLearner1);
  other.mutable_train_report()->mutable_published()->set_digest(DigestText(999));
  Say(kLearner1, other);
  EXPECT_THAT(Failure(), HasSubstr(DigestText(101)));
  EXPECT_THAT(Failure(), HasSubstr(DigestText(999)));
}

TEST_F(SchedulerTest, RolloutWorkerLostWhileGenerating_BundleGoesToAnotherWithTheNextAttempt) {
  Make(TwoBundles());
  Start();
  Report(kRollout0);  // Idle now: both bundles of step 0 are out.
  Lose(kRollout1);
  ASSERT_TRUE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
  EXPECT_EQ(sent_[kRollout0].rollout_lease().bundle().index(), 1);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().fence().attempt(), 2);
  ASSERT_EQ(All<JournalBundle>().size(), 2u);
  EXPECT_EQ(All<JournalBundle>()[0].kind, BundleEventKind::kLost);
}

TEST_F(SchedulerTest, HolderLostBeforeTraining_BundleIsMadeAgainAndScoresStay) {
  Make(TwoBundles());
  Start();
  Report(kRollout0);
  Score();
  Lose(kRollout0);
  Report(kRollout1);
  EXPECT_EQ(sent_[kRollout1].rollout_lease().bundle().index(), 0);
  Report(kRollout1);
  Score();
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep)) << "bundle 0 was scored once";
  EXPECT_EQ(sent_[kLearner0].train_step().bundles(0).rollout().address(), incarnations_[kRollout1]);
}

TEST_F(SchedulerTest, HolderLostWhileTraining_NothingIsRedoneUnlessALearnerAsks) {
  Make(TwoBundles());
  Start();
  FillStep();
  Lose(kRollout0);
  ASSERT_EQ(All<JournalBundle>().size(), 1u);
  EXPECT_EQ(All<JournalBundle>()[0].kind, BundleEventKind::kOrphaned);
  EXPECT_FALSE(Sent(kRollout1, v1::DriverMessage::kRolloutLease));
  v1::WorkerMessage message;
  *message.mutable_fetch_failed()->mutable_fence() = sent_[kLearner1].train_step().fence();
  message.mutable_fetch_failed()->set_artifact_id("r0");
  message.mutable_fetch_failed()->set_address(incarnations_[kRollout0]);
  Say(kLearner1, message);
  EXPECT_EQ(sent_[kRollout1].rollout_lease().bundle().index(), 0);
  EXPECT_EQ(sent_[kRollout1].rollout_lease().fence().attempt(), 2);
  Report(kRollout1);
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
  EXPECT_EQ(sent_[kLearner0].train_step().fence().attempt(), 2);
  Train();
  EXPECT_EQ(All<JournalCommit>().size(), 1u);
}

TEST_F(SchedulerTest, RegeneratedBundleDiffers_StopsWithBothDigests) {
  Make(TwoBundles());
  Start();
  Report(kRollout0);
  Lose(kRollout0);
  Report(kRollout1);
  v1::WorkerMessage other = RolloutAnswer(kRollout1);
  other.mutable_rollout_report()->mutable_artifact()->set_digest(DigestText(777));
  Say(kRollout1, other);
  EXPECT_THAT(Failure(), HasSubstr(DigestText(777)));
  EXPECT_THAT(Failure(), HasSubstr(DigestText(0)));
}

TEST_F(SchedulerTest, RolloutLease_NamesThePublisherAndItsHost) {
  host_[kLearner0] = host_[kLearner1] = "a";
  host_[kRollout0] = "b";
  Make(TwoBundles());
  Start();
  const v1::WeightHolder& holder = sent_[kRollout0].rollout_lease().weights();
  EXPECT_EQ(holder.address(), "learner-0:1");
  EXPECT_EQ(holder.host_identity(), "a");
}

TEST_F(SchedulerTest, LearnersOnTwoHosts_RefusedUnlessTheyReduceOverMpi) {
  host_[kLearner0] = "a";
  host_[kLearner1] = "b";
  Make(TwoBundles());
  JoinAll();
  EXPECT_THAT(Failure(), HasSubstr("learner-0 is on host a, learner-1 on host b"));
  EXPECT_THAT(Failure(), HasSubstr("set cluster.learner.collective to mpi"));
  ScheduleConfig config = TwoBundles();
  config.collective = v1::COLLECTIVE_KIND_MPI;
  Make(config);
  JoinAll();
  EXPECT_TRUE(Sent(kLearner1, v1::DriverMessage::kFormGroup));
}

TEST_F(SchedulerTest, WeightsNotFetched_BundleIsLeasedAgainAndNobodyIsKilled) {
  Make(TwoBundles());
  Start();
  FailToFetchWeights(kRollout0);
  EXPECT_THAT(All<KillWorker>(), IsEmpty());
  ASSERT_FALSE(All<JournalBundle>().empty());
  EXPECT_EQ(All<JournalBundle>()[0].kind, BundleEventKind::kLost);
  EXPECT_THAT(All<JournalBundle>()[0].cause, HasSubstr("connection refused"));
  ASSERT_TRUE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
  EXPECT_EQ(sent_[kRollout0].rollout_lease().bundle().index(), 0);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().fence().attempt(), 2);
  FillStep();
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
}

TEST_F(SchedulerTest, WeightsNeverFetched_EndsTheJob) {
  for (const bool evaluates : {false, true}) {
    ScheduleConfig config = TwoBundles();
    config.max_bundle_attempts = 3;
    if (evaluates) {
      config.steps = 1;
      config.slots_per_step = 2;
      config.eval_every = 100;
      config.eval_rows = config.eval_bundle_rows = 3;
    }
    Make(config);
    Start();
    // With one TRAIN bundle the second worker evaluates version 0.
    const WorkerId worker = evaluates ? kRollout1 : kRollout0;
    EXPECT_EQ(sent_[worker].rollout_lease().bundle().kind(),
              evaluates ? v1::BUNDLE_KIND_EVAL : v1::BUNDLE_KIND_TRAIN);
    FailToFetchWeights(worker);
    FailToFetchWeights(worker);
    EXPECT_EQ(Failure(), "");
    FailToFetchWeights(worker);
    EXPECT_THAT(Failure(), HasSubstr("was lost 3 times, last: its worker cannot fetch the weights: "
                                     "connection refused"));
  }
}

TEST_F(SchedulerTest, WeightsNotFetched_AfterTheLearnerDied_TheNewEpochLeases) {
  Make(TwoBundles());
  Start();
  Lose(kLearner0);
  FailToFetchWeights(kRollout0);
  EXPECT_THAT(All<JournalBundle>(), IsEmpty()) << "its epoch is over";
  Join(kLearner0);
  Join(kLearner1);
  Ready(kLearner0);
  Ready(kLearner1);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().fence().epoch(), 2u);
}

TEST_F(SchedulerTest, ScorerLost_ItsScoresAreMadeAgain) {
  Make(TwoBundles());
  Start();
  Report(kRollout0);
  Score();
  Report(kRollout1);
  Lose(kScorer);
  int lost = 0;
  for (const JournalBundle& entry : All<JournalBundle>())
    lost += entry.kind == BundleEventKind::kScoreLost;
  EXPECT_EQ(lost, 2) << "one held, one leased";
  Join(kScorer);
  EXPECT_EQ(sent_[kScorer].score_lease().fence().attempt(), 2);
  Score();
  Score();
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
}

TEST_F(SchedulerTest, ScorerCannotFetch_HolderIsReplacedAndTheBundleMadeAgain) {
  Make(TwoBundles());
  Start();
  Report(kRollout0);
  v1::WorkerMessage message;
  *message.mutable_fetch_failed()->mutable_fence() = sent_[kScorer].score_lease().fence();
  message.mutable_fetch_failed()->set_message("connection refused");
  Say(kScorer, message);
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_EQ(All<KillWorker>()[0].worker, kRollout0);
  Report(kRollout1);
  EXPECT_EQ(sent_[kRollout1].rollout_lease().bundle().index(), 0);
}

TEST_F(SchedulerTest, LearnerLost_AllRanksAreReplacedAndTheRunRewinds) {
  Make(TwoBundles());
  Start();
  for (int step = 0; step < 2; ++step) {
    FillStep();
    Train();
  }
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kWriteCheckpoint));
  for (const WorkerId learner : {kLearner0, kLearner1}) {
    v1::WorkerMessage message;
    message.mutable_checkpoint_report()->set_epoch(1);
    message.mutable_checkpoint_report()->set_step(2);
    Say(learner, message);
  }
  ASSERT_EQ(All<JournalCheckpoint>().size(), 1u);
  FillStep();
  Train();
  Report(kRollout0);  // Of step 3, in epoch 1.
  Lose(kLearner0);
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_EQ(All<KillWorker>()[0].worker, kLearner1);
  EXPECT_FALSE(All<KillWorker>()[0].its_fault);
  ASSERT_EQ(All<JournalEpoch>().size(), 1u);
  EXPECT_EQ(All<JournalEpoch>()[0].epoch, 2u);
  EXPECT_EQ(All<JournalEpoch>()[0].step, 2);
  EXPECT_EQ(released_[kRollout0].release_artifacts().up_to_step(), -1);
  Join(kLearner0);
  Join(kLearner1);
  EXPECT_EQ(sent_[kLearner0].form_group().checkpoint(), "step-2");
  EXPECT_EQ(sent_[kLearner0].form_group().generation(), 2);
  Ready(kLearner0, 2);
  Ready(kLearner1, 2);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().fence().epoch(), 2u);
  EXPECT_EQ(sent_[kRollout0].rollout_lease().bundle().step(), 2);
}

TEST_F(SchedulerTest, ReportOfAnEarlierEpoch_RefusedAndItsWorkerFreed) {
  Make(TwoBundles());
  Start();
  const v1::WorkerMessage old = RolloutAnswer(kRollout0);
  Lose(kLearner0);
  Join(kLearner0);
  Join(kLearner1);
  Ready(kLearner0);
  Ready(kLearner1);
  EXPECT_FALSE(Sent(kRollout0, v1::DriverMessage::kRolloutLease))
      << "still busy with the old lease";
  Say(kRollout0, old);
  EXPECT_EQ(scheduler_->snapshot().refused_messages, 1);
  ASSERT_TRUE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
  EXPECT_EQ(sent_[kRollout0].rollout_lease().fence().epoch(), 2u);
}

TEST_F(SchedulerTest, NoProgress_LeaseExpiresAndTheWorkerIsReplaced) {
  Make(TwoBundles());
  Start();
  now_ += absl::Seconds(9);
  v1::WorkerMessage progress;
  *progress.mutable_progress()->mutable_fence() = sent_[kRollout0].rollout_lease().fence();
  progress.mutable_progress()->set_units_done(1);
  Say(kRollout0, progress);
  EXPECT_EQ(All<ProgressNoted>().size(), 1u);
  now_ += absl::Seconds(2);
  Handle(Tick{});
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_EQ(All<KillWorker>()[0].worker, kRollout1) << "rollout-0 showed progress";
  EXPECT_THAT(All<KillWorker>()[0].cause, HasSubstr("lease_expired"));
  now_ += absl::Seconds(7);
  Say(kRollout0, progress);  // The same count: a ping, no progress.
  EXPECT_THAT(All<ProgressNoted>(), IsEmpty());
  now_ += absl::Seconds(2);
  Handle(Tick{});
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_EQ(All<KillWorker>()[0].worker, kRollout0);
}

TEST_F(SchedulerTest, WorkFailed_BadInputStopsTheJobAnythingElseReplacesTheWorker) {
  Make(TwoBundles());
  Start();
  v1::WorkerMessage message;
  *message.mutable_work_failed()->mutable_fence() = sent_[kRollout0].rollout_lease().fence();
  message.mutable_work_failed()->set_code(static_cast<int>(absl::StatusCode::kUnavailable));
  Say(kRollout0, message);
  EXPECT_EQ(All<KillWorker>().size(), 1u);
  *message.mutable_work_failed()->mutable_fence() = sent_[kRollout1].rollout_lease().fence();
  message.mutable_work_failed()->set_code(static_cast<int>(absl::StatusCode::kDataLoss));
  message.mutable_work_failed()->set_message("model.safetensors is torn");
  Say(kRollout1, message);
  EXPECT_EQ(Failure(), "model.safetensors is torn");
  EXPECT_TRUE(All<JobFailed>()[0].bad_input);
}

TEST_F(SchedulerTest, WrongVersionDigest_StopsWithBothValues) {
  Make(TwoBundles());
  Start();
  v1::WorkerMessage message = RolloutAnswer(kRollout0);
  message.mutable_rollout_report()->set_version_digest(DigestText(5));
  Say(kRollout0, message);
  EXPECT_THAT(Failure(), HasSubstr(DigestText(5)));
  EXPECT_THAT(Failure(), HasSubstr(DigestText(100)));
}

TEST_F(SchedulerTest, MalformedReport_ReplacesTheWorker) {
  Make(TwoBundles());
  Start();
  v1::WorkerMessage message = RolloutAnswer(kRollout0);
  message.mutable_rollout_report()->clear_response_lengths();
  Say(kRollout0, message);
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_THAT(All<KillWorker>()[0].cause, HasSubstr("response lengths"));
}

TEST_F(SchedulerTest, Eval_RunsBetweenTrainBundlesAndPinsItsVersion) {
  ScheduleConfig config = TwoBundles();
  config.eval_every = 100;
  config.eval_rows = 3;
  config.eval_bundle_rows = 3;
  Make(std::move(config));
  Start();
  EXPECT_EQ(sent_[kRollout0].rollout_lease().bundle().kind(), v1::BUNDLE_KIND_TRAIN);
  EXPECT_EQ(sent_[kRollout1].rollout_lease().bundle().kind(), v1::BUNDLE_KIND_TRAIN);
  Report(kRollout0);
  ASSERT_EQ(sent_[kRollout0].rollout_lease().bundle().kind(), v1::BUNDLE_KIND_EVAL);
  EXPECT_THAT(sent_[kRollout0].rollout_lease().rows(), ElementsAre(0, 1, 2));
  Report(kRollout1);
  Score();
  Score();
  Train();
  Report(kRollout1);
  Report(kRollout1);
  Score();
  Score();
  EXPECT_FALSE(Sent(kLearner0, v1::DriverMessage::kTrainStep))
      << "version 2 would overwrite version 0, which is still being evaluated";
  Report(kRollout0);
  ASSERT_EQ(All<JournalEval>().size(), 1u);
  EXPECT_EQ(All<JournalEval>()[0].record.version(), 0);
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
}

TEST_F(SchedulerTest, BlockingEval_GoesBeforeTrainBundles) {
  ScheduleConfig config = TwoBundles();
  config.lag = 1;
  config.eval_every = 100;
  config.eval_rows = 3;
  config.eval_bundle_rows = 3;
  config.rollouts = 1;
  Make(std::move(config));
  for (const WorkerId worker : {kRollout0, kScorer, kLearner0, kLearner1}) Join(worker);
  Ready(kLearner0);
  Ready(kLearner1);
  std::vector<std::string> order;
  for (int i = 0; i < 7; ++i) {
    const v1::RolloutLease& lease = sent_[kRollout0].rollout_lease();
    order.push_back((lease.bundle().kind() == v1::BUNDLE_KIND_EVAL ? "eval" : "step") +
                    std::to_string(lease.bundle().step()));
    const bool train = lease.bundle().kind() == v1::BUNDLE_KIND_TRAIN;
    Report(kRollout0);
    if (train) Score();
    if (Sent(kLearner0, v1::DriverMessage::kTrainStep)) Train();
  }
  EXPECT_THAT(order, ElementsAre("step0", "step0", "step1", "step1", "step2", "eval0", "step2"));
}

TEST_F(SchedulerTest, StopRequested_RunningStepIsFinishedThenCheckpointThenStopped) {
  Make(TwoBundles());
  Start();
  FillStep();
  Handle(StopRequested{});
  EXPECT_THAT(All<JobStopped>(), IsEmpty());
  Train();
  EXPECT_FALSE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kWriteCheckpoint));
  EXPECT_EQ(sent_[kLearner0].write_checkpoint().name(), "step-1");
  for (const WorkerId learner : {kLearner0, kLearner1}) {
    v1::WorkerMessage message;
    message.mutable_checkpoint_report()->set_epoch(1);
    message.mutable_checkpoint_report()->set_step(1);
    Say(learner, message);
  }
  EXPECT_EQ(All<JobStopped>().size(), 1u);
}

TEST_F(SchedulerTest, StopRequested_StepThatDoesNotEndIsDropped) {
  Make(TwoBundles());
  Start();
  FillStep();
  Handle(StopRequested{});
  for (int i = 0; i < 3; ++i) {
    now_ += absl::Seconds(7);
    for (const WorkerId learner : {kLearner0, kLearner1}) {
      v1::WorkerMessage progress;
      *progress.mutable_progress()->mutable_fence() = sent_[learner].train_step().fence();
      progress.mutable_progress()->set_units_done(i + 1);
      Say(learner, progress);
    }
    Handle(Tick{});
    EXPECT_THAT(All<JobStopped>(), IsEmpty());
  }
  now_ += absl::Seconds(2);
  Handle(Tick{});
  EXPECT_EQ(All<JobStopped>().size(), 1u);
}

TEST_F(SchedulerTest, CheckpointFails_TrainingGoesOn) {
  Make(TwoBundles());
  Start();
  for (int step = 0; step < 2; ++step) {
    FillStep();
    Train();
  }
  for (const WorkerId learner : {kLearner0, kLearner1}) {
    v1::WorkerMessage message;
    message.mutable_work_failed()->mutable_fence()->set_epoch(1);
    message.mutable_work_failed()->mutable_fence()->set_step(2);
    message.mutable_work_failed()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
    message.mutable_work_failed()->set_message("disk full");
    Say(learner, message);
  }
  ASSERT_EQ(All<CheckpointFailed>().size(), 1u);
  EXPECT_THAT(All<CheckpointFailed>()[0].message, HasSubstr("disk full"));
  FillStep();
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
}

TEST_F(SchedulerTest, SftTrainStep_CarriesTheRowsOfTheStep) {
  ScheduleConfig config = TwoBundles();
  config.reinforcement = false;
  config.rollouts = config.scorers = 0;
  Make(std::move(config));
  Join(kLearner0);
  Join(kLearner1);
  Ready(kLearner0);
  Ready(kLearner1);
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
  EXPECT_THAT(sent_[kLearner0].train_step().rows(), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(sent_[kLearner0].train_step().bundles_size(), 0);
}

}  // namespace
}  // namespace retort::driver
