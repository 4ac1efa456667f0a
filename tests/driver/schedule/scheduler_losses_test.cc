// Lost workers, failed fetches, failed work.
#include "driver/schedule/scheduler_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

TEST_F(SchedulerTest, ScorerDiedWhileTraining_ItsSuccessorIsNotBlamed) {
  Make(TwoBundles());
  Start();
  FillStep();
  v1::WorkerMessage message;
  *message.mutable_fetch_failed()->mutable_fence() = sent_[kLearner0].train_step().fence();
  message.mutable_fetch_failed()->set_artifact_id("s0");
  message.mutable_fetch_failed()->set_address(incarnations_[kScorer]);
  Lose(kScorer);
  Join(kScorer);
  Say(kLearner0, message);
  EXPECT_THAT(All<KillWorker>(), IsEmpty());
  ASSERT_TRUE(Sent(kScorer, v1::DriverMessage::kScoreLease));
  EXPECT_EQ(sent_[kScorer].score_lease().bundle().index(), 0);
}

TEST_F(SchedulerTest, EvaluationKillsEveryWorker_EndsTheJob) {
  ScheduleConfig config = TwoBundles();
  config.steps = 1;
  config.slots_per_step = 2;
  config.eval_every = 100;
  config.eval_rows = config.eval_bundle_rows = 3;
  config.max_bundle_attempts = 3;
  Make(config);
  Start();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    EXPECT_EQ(Failure(), "");
    ASSERT_EQ(sent_[kRollout1].rollout_lease().bundle().kind(), v1::BUNDLE_KIND_EVAL);
    EXPECT_EQ(sent_[kRollout1].rollout_lease().fence().attempt(), attempt);
    Lose(kRollout1);
    if (attempt < 3) Join(kRollout1);
  }
  EXPECT_THAT(Failure(), HasSubstr("evaluation bundle 0 of version 0 was lost 3 times, last: "
                                   "killed by signal 9"));
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

TEST_F(SchedulerTest, LearnerProgress_OnlyByAStepThatWasNeverCommitted) {
  const auto noted = [this] { return All<ProgressNoted>().size(); };
  const auto show_progress = [&] {
    v1::WorkerMessage progress;
    *progress.mutable_progress()->mutable_fence() = sent_[kLearner0].train_step().fence();
    progress.mutable_progress()->set_units_done(1);
    Say(kLearner0, progress);
  };
  Make(TwoBundles());
  Start();
  EXPECT_EQ(noted(), 0u) << "of forming";
  FillStep();
  show_progress();
  EXPECT_EQ(noted(), 0u) << "inside a step";
  Train();
  EXPECT_EQ(noted(), 2u) << "of each rank";
  RestartLearners();
  EXPECT_EQ(noted(), 0u);
  Report(kRollout0);  // The leases of epoch 1.
  Report(kRollout1);
  FillStep();
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
  Train();
  EXPECT_EQ(noted(), 0u) << "of a replayed step";
}

TEST_F(SchedulerTest, ReportOfAnEarlierEpoch_RefusedAndItsWorkerFreed) {
  Make(TwoBundles());
  Start();
  const v1::WorkerMessage old = RolloutAnswer(kRollout0);
  RestartLearners();
  EXPECT_FALSE(Sent(kRollout0, v1::DriverMessage::kRolloutLease))
      << "still busy with the old lease";
  Say(kRollout0, old);
  EXPECT_EQ(scheduler_->snapshot().refused_messages, 1);
  ASSERT_TRUE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
  EXPECT_EQ(sent_[kRollout0].rollout_lease().fence().epoch(), 2u);
}

// Step and attempt begin anew with an epoch: only the epoch tells the two leases apart.
TEST_F(SchedulerTest, ReportOfAnEarlierEpoch_SameStepAndAttemptAsTheNewLease_Refused) {
  Make(TwoBundles());
  Start();
  const v1::WorkerMessage old = RolloutAnswer(kRollout0);
  RestartLearners();
  Say(kRollout0, old);  // Frees the worker, which is leased the same bundle again.
  const v1::Fence& fence = sent_[kRollout0].rollout_lease().fence();
  ASSERT_EQ(fence.epoch(), 2u);
  ASSERT_EQ(fence.step(), old.rollout_report().fence().step());
  ASSERT_EQ(fence.attempt(), old.rollout_report().fence().attempt());
  Say(kRollout0, old);
  EXPECT_EQ(scheduler_->snapshot().refused_messages, 2);
  EXPECT_THAT(All<JournalBundle>(), IsEmpty());
  Report(kRollout0);
  EXPECT_FALSE(All<JournalBundle>().empty());
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

}  // namespace
}  // namespace retort::driver
