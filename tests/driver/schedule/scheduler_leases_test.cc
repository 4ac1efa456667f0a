// Leases: what renews them, and what happens when they expire.
#include "driver/schedule/scheduler_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(SchedulerTest, DriverWasAway_LeasesDoNotRunMeanwhile) {
  Make(TwoBundles());
  Start();
  now_ += absl::Seconds(40);
  Handle(Tick{absl::Seconds(40)});
  EXPECT_THAT(All<KillWorker>(), IsEmpty());
  now_ += absl::Seconds(9);
  Handle(Tick{});
  EXPECT_THAT(All<KillWorker>(), IsEmpty());
  now_ += absl::Seconds(2);
  Handle(Tick{});
  EXPECT_EQ(All<KillWorker>().size(), 2u) << "no lease is longer than its patience";
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

TEST_F(SchedulerTest, WorkersStillLoad_NothingIsLeasedAndNoGroupFormed) {
  Make(TwoBundles());
  for (const WorkerId worker : {kRollout0, kScorer, kLearner0, kLearner1}) Attach(worker);
  Load(kLearner0);
  EXPECT_TRUE(sent_.empty());
  Load(kLearner1);
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kFormGroup));
  Ready(kLearner0);
  Ready(kLearner1);
  EXPECT_FALSE(sent_.contains(kRollout0));
  Load(kRollout0);
  ASSERT_TRUE(Sent(kRollout0, v1::DriverMessage::kRolloutLease));
  Report(kRollout0);
  EXPECT_FALSE(sent_.contains(kScorer));
  Load(kScorer);
  EXPECT_TRUE(Sent(kScorer, v1::DriverMessage::kScoreLease));
  Load(kScorer);
  EXPECT_EQ(scheduler_->snapshot().refused_messages, 1) << "it is ready once";
}

TEST_F(SchedulerTest, LoadsWithoutAnEnd_WorkerIsReplacedUnlessItComputes) {
  Make(TwoBundles());
  Attach(kRollout0);
  Attach(kRollout1);
  v1::Fence loading;
  loading.set_epoch(1);
  for (int beat = 1; beat <= 3; ++beat) {
    now_ += absl::Seconds(50);
    Say(kRollout0, BusyFor(loading, beat));
  }
  Handle(Tick{});
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_EQ(All<KillWorker>()[0].worker, kRollout1);
}

TEST_F(SchedulerTest, BusyInsideAUnit_LeaseIsRenewedUntilNothingIsComputed) {
  Make(TwoBundles());
  Start();
  Report(kRollout1);
  Say(kScorer, BusyFor(sent_[kScorer].score_lease().fence(), 1));
  for (int beat = 1; beat <= 60; ++beat) {
    now_ += absl::Seconds(9);
    Say(kRollout0, BusyFor(sent_[kRollout0].rollout_lease().fence(), beat * 9000));
    EXPECT_THAT(All<ProgressNoted>(), IsEmpty()) << "earlier deaths are forgiven by units alone";
    Say(kScorer, BusyFor(sent_[kScorer].score_lease().fence(), beat * 9000));
    Handle(Tick{});
    ASSERT_THAT(All<KillWorker>(), IsEmpty()) << "after " << beat * 9 << " s";
  }
  now_ += absl::Seconds(9);
  Say(kRollout0, BusyFor(sent_[kRollout0].rollout_lease().fence(), 60 * 9000));
  now_ += absl::Seconds(2);
  Say(kScorer, BusyFor(sent_[kScorer].score_lease().fence(), 61 * 9000));
  Handle(Tick{});
  ASSERT_EQ(All<KillWorker>().size(), 1u) << "a ping is no progress";
  EXPECT_EQ(All<KillWorker>()[0].worker, kRollout0);
}

TEST_F(SchedulerTest, BusyForEverInsideAUnit_WorkerIsReplaced) {
  ScheduleConfig config = TwoBundles();
  config.unit_limit_seconds = 60;
  Make(config);
  Start();
  Report(kRollout1);
  Score();
  for (int second = 0; second < 60; second += 5) {
    now_ += absl::Seconds(5);
    v1::WorkerMessage busy = BusyFor(sent_[kRollout0].rollout_lease().fence(), second * 1000 + 1);
    busy.mutable_progress()->set_units_done(second < 30 ? 1 : 2);
    Say(kRollout0, busy);
    Handle(Tick{});
    ASSERT_THAT(All<KillWorker>(), IsEmpty());
  }
  for (int second = 60; second < 95; second += 5) {
    now_ += absl::Seconds(5);
    Say(kRollout0, BusyFor(sent_[kRollout0].rollout_lease().fence(), second * 1000 + 1));
  }
  Handle(Tick{});
  ASSERT_EQ(All<KillWorker>().size(), 1u);
  EXPECT_THAT(All<KillWorker>()[0].cause, HasSubstr("optimizer.micro_batch_tokens"));
}

TEST_F(SchedulerTest, OneRankComputes_TheRankThatWaitsForItKeepsItsLease) {
  Make(TwoBundles());
  Start();
  FillStep();
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kTrainStep));
  EXPECT_EQ(sent_[kLearner0].train_step().deadline_ms(), 10000) << "its lease, for what it fetches";
  for (int beat = 1; beat <= 10; ++beat) {
    now_ += absl::Seconds(9);
    Say(kLearner1, BusyFor(sent_[kLearner1].train_step().fence(), beat * 9000));
    Handle(Tick{});
    ASSERT_THAT(All<KillWorker>(), IsEmpty());
  }
  now_ += absl::Seconds(11);
  Handle(Tick{});
  EXPECT_THAT(All<KillWorker>(), ::testing::Not(IsEmpty())) << "now both wait";
}

}  // namespace
}  // namespace retort::driver
