// What the learner group is told: forming, training, committing, checkpoints, stopping.
#include <algorithm>

#include "driver/schedule/scheduler_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

// What lies below an adapter is no part of the weights' digest.
TEST_F(SchedulerTest, BasesOfRanksDiffer_StopsNamingBothDigests) {
  Make(TwoBundles());
  base_[kLearner0] = DigestText(7);
  base_[kLearner1] = DigestText(8);
  Start();
  EXPECT_THAT(Failure(), HasSubstr(DigestText(7)));
  EXPECT_THAT(Failure(), HasSubstr(DigestText(8)));
  EXPECT_THAT(Failure(), HasSubstr("policy.path"));
}

TEST_F(SchedulerTest, RolloutLease_NamesTheLearnersBase) {
  Make(TwoBundles());
  base_[kLearner0] = base_[kLearner1] = DigestText(7);
  Start();
  EXPECT_EQ(sent_[kRollout0].rollout_lease().weights().base_digest(), DigestText(7));
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

// Equal weights with other moments part ways at the next step.
TEST_F(SchedulerTest, RanksDisagreeInStateAlone_StopsNamingBoth) {
  Make(TwoBundles());
  Start();
  FillStep();
  Say(kLearner0, TrainAnswer(kLearner0));
  v1::WorkerMessage other = TrainAnswer(kLearner1);
  other.mutable_train_report()->set_state_digest("moments");
  Say(kLearner1, other);
  EXPECT_THAT(All<JournalCommit>(), IsEmpty());
  EXPECT_THAT(Failure(), HasSubstr("the learner ranks disagree after step 0"));
  EXPECT_THAT(Failure(), HasSubstr("moments"));
}

TEST_F(SchedulerTest, ReplayedStepEndsWithAnotherState_StopsNamingBoth) {
  Make(TwoBundles());
  Start();
  FillStep();
  Train();
  RestartLearners();
  Report(kRollout0);  // The leases of epoch 1.
  Report(kRollout1);
  FillStep();
  for (const WorkerId learner : {kLearner0, kLearner1}) {
    ASSERT_TRUE(sent_[learner].has_train_step());
    v1::WorkerMessage answer = TrainAnswer(learner);
    answer.mutable_train_report()->set_state_digest("moments");
    Say(learner, answer);
  }
  EXPECT_THAT(Failure(), HasSubstr("divergence: step 0 ended with state moments in this replay and "
                                   "with state when it was committed"));
}

TEST_F(SchedulerTest, LearnersOnTwoHosts_RefusedUnlessTheyReduceOverMpi) {
  host_[kLearner0] = "a";
  host_[kLearner1] = "b";
  Make(TwoBundles());
  JoinAll();
  EXPECT_THAT(Failure(), HasSubstr("learner-0 is on host a, learner-1 on host b"));
  EXPECT_THAT(Failure(), HasSubstr("deploy/mpirun.sh"));
  under_mpirun_ = {kLearner0, kLearner1};
  Make(TwoBundles());
  JoinAll();
  ASSERT_TRUE(Sent(kLearner1, v1::DriverMessage::kFormGroup));
  EXPECT_EQ(sent_[kLearner1].form_group().collective(), v1::COLLECTIVE_KIND_MPI);
}

TEST_F(SchedulerTest, Collective_AutoIsMpiOnlyIfMpirunStartedEveryLearner) {
  under_mpirun_ = {kLearner1, kScorer};
  Make(TwoBundles());
  JoinAll();
  ASSERT_TRUE(Sent(kLearner1, v1::DriverMessage::kFormGroup));
  EXPECT_EQ(sent_[kLearner1].form_group().collective(), v1::COLLECTIVE_KIND_SHM);
}

TEST_F(SchedulerTest, Collective_ShmUnderMpirun_StaysShm) {
  under_mpirun_ = {kLearner0, kLearner1};
  ScheduleConfig config = TwoBundles();
  config.collective = v1::COLLECTIVE_KIND_SHM;
  Make(config);
  JoinAll();
  ASSERT_TRUE(Sent(kLearner1, v1::DriverMessage::kFormGroup));
  EXPECT_EQ(sent_[kLearner1].form_group().collective(), v1::COLLECTIVE_KIND_SHM);
}

TEST_F(SchedulerTest, Collective_MpiWithoutMpirun_Refused) {
  under_mpirun_ = {kLearner0};
  ScheduleConfig config = TwoBundles();
  config.collective = v1::COLLECTIVE_KIND_MPI;
  Make(config);
  JoinAll();
  EXPECT_THAT(Failure(), HasSubstr("mpirun did not start learner-1"));
}

class GroupIdentityTest : public SchedulerTest {
 protected:
  void SetUp() override {
    ScheduleConfig config = TwoBundles();
    config.collective = v1::COLLECTIVE_KIND_NCCL;
    Make(config);
    host_[kLearner1] = "another";
    JoinAll();
  }
  // What learner `learner` says of the group that it was told to form.
  v1::WorkerMessage IdentityOf(WorkerId learner) {
    v1::WorkerMessage message;
    v1::GroupIdentity& identity = *message.mutable_group_identity();
    identity.set_epoch(forms_[learner].epoch());
    identity.set_generation(forms_[learner].generation());
    identity.set_id(std::string(128, 'x'));
    return message;
  }
  void KeepForms() {
    for (const WorkerId learner : {kLearner0, kLearner1})
      forms_[learner] = sent_[learner].form_group();
  }
  int Relayed(WorkerId learner) const {
    int relayed = 0;
    for (const SendMessage& send : All<SendMessage>()) {
      relayed += send.worker == learner && send.message.has_group_identity();
    }
    return relayed;
  }
  int64_t Refused() const { return scheduler_->snapshot().refused_messages; }

  std::map<WorkerId, v1::FormGroup> forms_;
};

TEST_F(GroupIdentityTest, Nccl_LearnersOfTwoHosts_FormOverIt) {
  EXPECT_EQ(sent_[kLearner0].form_group().collective(), v1::COLLECTIVE_KIND_NCCL);
  EXPECT_EQ(sent_[kLearner1].form_group().collective(), v1::COLLECTIVE_KIND_NCCL);
}

TEST_F(GroupIdentityTest, OfRank0_GoesToTheOthersOnce) {
  KeepForms();
  Say(kLearner0, IdentityOf(kLearner0));
  EXPECT_EQ(Relayed(kLearner0), 0);
  ASSERT_EQ(Relayed(kLearner1), 1);
  EXPECT_EQ(sent_[kLearner1].group_identity().id(), std::string(128, 'x'));
  EXPECT_EQ(sent_[kLearner1].group_identity().generation(), forms_[kLearner1].generation());
  Say(kLearner0, IdentityOf(kLearner0));
  EXPECT_EQ(Relayed(kLearner1), 0);
  EXPECT_EQ(Refused(), 1);
  Ready(kLearner0);  // The refusal cost nothing: the group still forms. (sent_ holds the form.)
  EXPECT_EQ(Failure(), "");
}

TEST_F(GroupIdentityTest, OfAnotherRankEpochOrGeneration_Refused) {
  KeepForms();
  Say(kLearner1, IdentityOf(kLearner1));
  EXPECT_EQ(Relayed(kLearner1), 0);
  v1::WorkerMessage other = IdentityOf(kLearner0);
  other.mutable_group_identity()->set_generation(forms_[kLearner0].generation() + 1);
  Say(kLearner0, other);
  EXPECT_EQ(Relayed(kLearner1), 0);
  other = IdentityOf(kLearner0);
  other.mutable_group_identity()->set_epoch(forms_[kLearner0].epoch() + 1);
  Say(kLearner0, other);
  EXPECT_EQ(Relayed(kLearner1), 0);
  EXPECT_EQ(Refused(), 3);
}

TEST_F(GroupIdentityTest, OfTheGroupBefore_RefusedAndTheNewOnePasses) {
  KeepForms();
  const v1::WorkerMessage stale = IdentityOf(kLearner0);
  Lose(kLearner1);
  Join(kLearner0);
  Join(kLearner1);
  KeepForms();
  EXPECT_GT(forms_[kLearner0].generation(), stale.group_identity().generation());
  Say(kLearner0, stale);
  EXPECT_EQ(Relayed(kLearner1), 0);
  EXPECT_EQ(Refused(), 1);
  Say(kLearner0, IdentityOf(kLearner0));
  EXPECT_EQ(Relayed(kLearner1), 1);
}

TEST_F(GroupIdentityTest, WhenTheGroupIsReady_Refused) {
  KeepForms();
  const v1::WorkerMessage identity = IdentityOf(kLearner0);
  Ready(kLearner0);
  Ready(kLearner1);
  Say(kLearner0, identity);
  EXPECT_EQ(Relayed(kLearner1), 0);
  EXPECT_EQ(Refused(), 1);
}

TEST_F(GroupIdentityTest, OfNoOrTooManyBytes_SenderIsReplaced) {
  for (const size_t bytes : {size_t{0}, size_t{129}}) {
    SetUp();
    KeepForms();
    v1::WorkerMessage bad = IdentityOf(kLearner0);
    bad.mutable_group_identity()->set_id(std::string(bytes, 'x'));
    Say(kLearner0, bad);
    EXPECT_EQ(Relayed(kLearner1), 0);
    ASSERT_FALSE(All<KillWorker>().empty());
    EXPECT_EQ(All<KillWorker>()[0].worker, kLearner0);
    EXPECT_THAT(All<KillWorker>()[0].cause, HasSubstr("bad GroupIdentity"));
  }
}

TEST_F(SchedulerTest, GroupIdentity_OfAGroupOverSharedMemory_Refused) {
  Make(TwoBundles());
  JoinAll();
  v1::WorkerMessage message;
  message.mutable_group_identity()->set_epoch(sent_[kLearner0].form_group().epoch());
  message.mutable_group_identity()->set_generation(sent_[kLearner0].form_group().generation());
  message.mutable_group_identity()->set_id("x");
  Say(kLearner0, message);
  EXPECT_FALSE(Sent(kLearner1, v1::DriverMessage::kGroupIdentity));
  EXPECT_EQ(scheduler_->snapshot().refused_messages, 1);
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

TEST_F(SchedulerTest, Resumed_BadStepsBeforeTheCheckpointCount) {
  ScheduleConfig config = TwoBundles();
  config.max_bad_steps = 1;
  History history;
  history.epoch = 2;
  history.checkpoints = {2};
  for (int64_t step = -1; step < 2; ++step) {
    history.commits[step] = {DigestText(101 + step), "state", step == 1};
  }
  Make(config, history);
  JoinAll();
  Ready(kLearner0, 2);
  Ready(kLearner1, 2);
  FillStep();
  for (const WorkerId learner : {kLearner0, kLearner1}) {
    v1::WorkerMessage bad = TrainAnswer(learner);
    bad.mutable_train_report()->set_bad_step(true);
    Say(learner, bad);
  }
  EXPECT_THAT(Failure(), HasSubstr("not finite in 2 steps in a row"));
}

// A run killed in between must find a checkpoint.
TEST_F(SchedulerTest, CheckpointReplacesAnother_OldOneIsDroppedAfterTheNewOneIsJournaled) {
  ScheduleConfig config = TwoBundles();
  config.keep_checkpoints = 1;
  Make(config);
  Start();
  for (int step = 0; step < 4; ++step) {
    FillStep();
    Train();
    if (step % 2 == 1) WriteCheckpoint();
  }
  const auto place = [this](auto matches) {
    return std::find_if(last_.begin(), last_.end(), matches) - last_.begin();
  };
  const auto journaled = place([](const Action& action) {
    const auto* checkpoint = std::get_if<JournalCheckpoint>(&action);
    return checkpoint != nullptr && checkpoint->name == "step-4";
  });
  const auto dropped = place([](const Action& action) {
    const auto* drop = std::get_if<DropCheckpoint>(&action);
    return drop != nullptr && drop->name == "step-2";
  });
  EXPECT_LT(journaled, dropped);
  EXPECT_LT(dropped, static_cast<ptrdiff_t>(last_.size()));
}

TEST_F(SchedulerTest, CheckpointFailed_TriedAgainByTheNextGroup) {
  Make(TwoBundles());
  Start();
  const auto train_two_steps = [this] {
    for (int step = 0; step < 2; ++step) {
      FillStep();
      Train();
    }
  };
  train_two_steps();
  ASSERT_TRUE(Sent(kLearner0, v1::DriverMessage::kWriteCheckpoint));
  FailCheckpoint();
  ASSERT_EQ(All<CheckpointFailed>().size(), 1u);
  EXPECT_FALSE(Sent(kLearner0, v1::DriverMessage::kWriteCheckpoint)) << "training goes on";
  RestartLearners();
  Report(kRollout0);  // The leases of epoch 1.
  Report(kRollout1);
  train_two_steps();
  EXPECT_TRUE(Sent(kLearner0, v1::DriverMessage::kWriteCheckpoint));
}

}  // namespace
}  // namespace retort::driver
