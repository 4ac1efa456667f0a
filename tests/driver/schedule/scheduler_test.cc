// Leases, lag, evaluation and reports: one rule of the schedule per test; the simulation covers
// their combinations.
#include "driver/schedule/scheduler_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

TEST_F(SchedulerTest, RolloutLease_NamesThePublisherAndItsHost) {
  host_[kLearner0] = host_[kLearner1] = "a";
  host_[kRollout0] = "b";
  Make(TwoBundles());
  Start();
  const v1::WeightHolder& holder = sent_[kRollout0].rollout_lease().weights();
  EXPECT_EQ(holder.address(), "learner-0:1");
  EXPECT_EQ(holder.host_identity(), "a");
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

}  // namespace
}  // namespace retort::driver
