#include "driver/cluster/cluster.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;

constexpr WorkerId kRollout0{v1::ROLE_ROLLOUT, 0};

class ClusterTest : public ::testing::Test {
 protected:
  explicit ClusterTest(bool external = false) : cluster_(Options(external)) {}

  ClusterOptions Options(bool external) {
    ClusterOptions options;
    options.scorers = 1;
    options.rollouts = 2;
    options.learners = 2;
    options.external = external;
    options.build = "b";
    options.new_incarnation = [this] { return "i" + std::to_string(++next_); };
    return options;
  }

  v1::Hello Hello(WorkerId worker) {
    v1::Hello hello;
    hello.set_role(worker.role);
    hello.set_index(worker.index);
    hello.set_incarnation(std::string(cluster_.IncarnationOf(worker)));
    hello.set_build("b");
    hello.set_pid(100);
    return hello;
  }
  v1::Hello RankHello(int rank, int world) {
    v1::Hello hello;
    hello.set_mpi_rank(rank);
    hello.set_mpi_world_size(world);
    hello.set_incarnation("r" + std::to_string(rank));
    hello.set_build("b");
    return hello;
  }
  v1::ChildExited Exited(WorkerId worker) {
    v1::ChildExited exited;
    exited.set_worker(NameOf(worker));
    exited.set_incarnation(std::string(cluster_.IncarnationOf(worker)));
    exited.set_exit_code(-1);
    exited.set_signal(9);
    return exited;
  }
  absl::Duration Now() { return now_ += absl::Milliseconds(1); }

  int next_ = 0;
  absl::Duration now_;
  Cluster cluster_;
};

class ExternalClusterTest : public ClusterTest {
 protected:
  ExternalClusterTest() : ClusterTest(true) {}
};

template <typename T>
const T* Find(const std::vector<ClusterEffect>& effects) {
  for (const ClusterEffect& effect : effects) {
    if (const T* found = std::get_if<T>(&effect)) return found;
  }
  return nullptr;
}

TEST_F(ClusterTest, AgentJoins_EveryPlaceIsSpawned) {
  const auto effects = cluster_.OnAgentJoined(Now());
  EXPECT_EQ(effects.size(), 5u);
  EXPECT_EQ(cluster_.running(), 5);
  EXPECT_EQ(cluster_.joined(), 0);
}

TEST_F(ClusterTest, Hello_ExpectedIncarnation_Joins) {
  cluster_.OnAgentJoined(Now());
  v1::Hello hello = Hello(kRollout0);
  hello.set_artifact_address("127.0.0.1:9");
  hello.set_host_identity("a");
  const auto effects = cluster_.OnHello(7, hello, Now());
  const JoinedEffect* joined = Find<JoinedEffect>(effects);
  ASSERT_NE(joined, nullptr);
  EXPECT_EQ(joined->worker, kRollout0);
  EXPECT_EQ(joined->host.artifact_address, "127.0.0.1:9");
  EXPECT_EQ(joined->host.host_identity, "a");
  EXPECT_EQ(*cluster_.WorkerOf(7), kRollout0);
  EXPECT_EQ(cluster_.ConnectionOf(kRollout0), 7u);
}

TEST_F(ClusterTest, Hello_ReplacedIncarnation_Aborted) {
  cluster_.OnAgentJoined(Now());
  v1::Hello hello = Hello(kRollout0);
  hello.set_incarnation("old");
  const auto effects = cluster_.OnHello(7, hello, Now());
  ASSERT_NE(Find<CloseEffect>(effects), nullptr);
  EXPECT_EQ(Find<CloseEffect>(effects)->status.code(), absl::StatusCode::kAborted);
}

TEST_F(ClusterTest, Hello_OtherBuildOrUnknownPlace_Refused) {
  cluster_.OnAgentJoined(Now());
  v1::Hello hello = Hello(kRollout0);
  hello.set_build("c");
  auto effects = cluster_.OnHello(7, hello, Now());
  ASSERT_NE(Find<CloseEffect>(effects), nullptr);
  EXPECT_THAT(std::string(Find<CloseEffect>(effects)->status.message()), HasSubstr("one build"));
  effects = cluster_.OnHello(8, Hello({v1::ROLE_ROLLOUT, 2}), Now());
  ASSERT_NE(Find<CloseEffect>(effects), nullptr);
  EXPECT_EQ(Find<CloseEffect>(effects)->status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClusterTest, ChildExits_LostThenRespawnedWithANewIncarnation) {
  cluster_.OnAgentJoined(Now());
  cluster_.OnHello(7, Hello(kRollout0), Now());
  const std::string before(cluster_.IncarnationOf(kRollout0));
  const auto effects = cluster_.OnChildExited(Exited(kRollout0), Now());
  ASSERT_NE(Find<LostEffect>(effects), nullptr);
  EXPECT_EQ(Find<LostEffect>(effects)->incarnation, before);
  EXPECT_EQ(Find<LostEffect>(effects)->cause, "killed by signal 9");
  ASSERT_NE(Find<SpawnEffect>(effects), nullptr);
  EXPECT_NE(Find<SpawnEffect>(effects)->incarnation, before);
  EXPECT_EQ(cluster_.WorkerOf(7), nullptr);
}

TEST_F(ClusterTest, StreamBreaks_LostOnceAndRespawnedOnlyAfterItsEnd) {
  cluster_.OnAgentJoined(Now());
  cluster_.OnHello(7, Hello(kRollout0), Now());
  auto effects = cluster_.OnDisconnected(7, "gone", Now());
  EXPECT_NE(Find<LostEffect>(effects), nullptr);
  EXPECT_EQ(Find<KillEffect>(effects), nullptr) << "its exit status may say why";
  EXPECT_EQ(Find<SpawnEffect>(effects), nullptr);
  EXPECT_EQ(cluster_.WorkerOf(7), nullptr);
  now_ += absl::Seconds(2);
  EXPECT_NE(Find<KillEffect>(cluster_.OnTick(Now())), nullptr);
  EXPECT_EQ(Find<KillEffect>(cluster_.OnTick(Now())), nullptr) << "once";
  effects = cluster_.OnChildExited(Exited(kRollout0), Now());
  EXPECT_EQ(Find<LostEffect>(effects), nullptr);
  EXPECT_NE(Find<SpawnEffect>(effects), nullptr);
}

TEST_F(ClusterTest, Kill_NoLostEffectAndNewProcessAfterItsEnd) {
  cluster_.OnAgentJoined(Now());
  cluster_.OnHello(7, Hello(kRollout0), Now());
  auto effects = cluster_.Kill(kRollout0, "lease_expired", true, Now());
  EXPECT_NE(Find<KillEffect>(effects), nullptr);
  EXPECT_NE(Find<CloseEffect>(effects), nullptr);
  EXPECT_EQ(Find<LostEffect>(effects), nullptr);
  EXPECT_EQ(cluster_.WorkerOf(7), nullptr) << "its late messages must find no worker";
  effects = cluster_.OnChildExited(Exited(kRollout0), Now());
  EXPECT_NE(Find<SpawnEffect>(effects), nullptr);
}

TEST_F(ClusterTest, FiveDeathsWithoutProgress_GivesUp) {
  cluster_.OnAgentJoined(Now());
  for (int death = 1; death <= 4; ++death) {
    EXPECT_NE(Find<SpawnEffect>(cluster_.OnChildExited(Exited(kRollout0), Now())), nullptr)
        << death;
  }
  const auto effects = cluster_.OnChildExited(Exited(kRollout0), Now());
  ASSERT_NE(Find<GiveUpEffect>(effects), nullptr);
  EXPECT_THAT(Find<GiveUpEffect>(effects)->message, HasSubstr("rollout-0 died 5 times"));
  EXPECT_EQ(Find<SpawnEffect>(effects), nullptr);
}

TEST_F(ClusterTest, ExitsWithBadInput_GivesUpAtOnce) {
  cluster_.OnAgentJoined(Now());
  cluster_.OnHello(7, Hello(kRollout0), Now());
  cluster_.OnDisconnected(7, "it said goodbye", Now());
  v1::ChildExited exited = Exited(kRollout0);
  exited.set_signal(0);
  exited.set_exit_code(2);
  const auto effects = cluster_.OnChildExited(exited, Now());
  ASSERT_NE(Find<GiveUpEffect>(effects), nullptr);
  EXPECT_TRUE(Find<GiveUpEffect>(effects)->bad_input);
  EXPECT_EQ(Find<SpawnEffect>(effects), nullptr);
}

TEST_F(ClusterTest, ProgressInBetween_ForgivesDeaths) {
  cluster_.OnAgentJoined(Now());
  for (int death = 1; death <= 20; ++death) {
    cluster_.NoteProgress(kRollout0);
    EXPECT_EQ(Find<GiveUpEffect>(cluster_.OnChildExited(Exited(kRollout0), Now())), nullptr);
  }
}

TEST_F(ClusterTest, KilledForAPeer_IsNotBlamed) {
  const WorkerId learner{v1::ROLE_LEARNER, 1};
  cluster_.OnAgentJoined(Now());
  for (int i = 0; i < 20; ++i) {
    cluster_.OnHello(100 + i, Hello(learner), Now());
    cluster_.Kill(learner, "a peer died", /*its_fault=*/false, Now());
    EXPECT_EQ(Find<GiveUpEffect>(cluster_.OnChildExited(Exited(learner), Now())), nullptr);
  }
}

TEST_F(ClusterTest, NoHelloInTime_Killed) {
  cluster_.OnAgentJoined(Now());
  now_ += absl::Seconds(61);
  const auto effects = cluster_.OnTick(Now());
  EXPECT_EQ(effects.size(), 5u);
  EXPECT_NE(Find<KillEffect>(effects), nullptr);
}

TEST_F(ClusterTest, AgentDies_JoinedWorkersAreLostAndComeBackWithTheNextAgent) {
  cluster_.OnAgentJoined(Now());
  cluster_.OnHello(7, Hello(kRollout0), Now());
  const auto effects = cluster_.OnAgentLost(Now());
  EXPECT_EQ(effects.size(), 1u);
  EXPECT_NE(Find<LostEffect>(effects), nullptr);
  EXPECT_EQ(cluster_.OnAgentJoined(Now()).size(), 5u);
}

TEST_F(ClusterTest, DuringShutdown_NothingIsRespawned) {
  cluster_.OnAgentJoined(Now());
  cluster_.BeginShutdown();
  const auto effects = cluster_.OnChildExited(Exited(kRollout0), Now());
  EXPECT_EQ(Find<SpawnEffect>(effects), nullptr);
  EXPECT_EQ(cluster_.running(), 4);
}

TEST_F(ExternalClusterTest, Ranks_GetRolesInOrder) {
  const WorkerId expected[] = {{v1::ROLE_SCORER, 0},
                               {v1::ROLE_ROLLOUT, 0},
                               {v1::ROLE_ROLLOUT, 1},
                               {v1::ROLE_LEARNER, 0},
                               {v1::ROLE_LEARNER, 1}};
  for (int rank = 0; rank < 5; ++rank) {
    const auto effects = cluster_.OnHello(rank + 1, RankHello(rank, 5), Now());
    ASSERT_NE(Find<JoinedEffect>(effects), nullptr);
    EXPECT_EQ(Find<JoinedEffect>(effects)->worker, expected[rank]);
  }
}

TEST_F(ExternalClusterTest, OtherRankCount_RefusedSayingWhatToStart) {
  const auto effects = cluster_.OnHello(1, RankHello(0, 4), Now());
  ASSERT_NE(Find<CloseEffect>(effects), nullptr);
  EXPECT_THAT(std::string(Find<CloseEffect>(effects)->status.message()), HasSubstr("mpirun -n 5"));
}

TEST_F(ExternalClusterTest, NewProcessOfALiveRank_TakesItsPlace) {
  cluster_.OnHello(1, RankHello(3, 5), Now());
  v1::Hello again = RankHello(3, 5);
  again.set_incarnation("new");
  const auto effects = cluster_.OnHello(2, again, Now());
  EXPECT_NE(Find<LostEffect>(effects), nullptr);
  ASSERT_NE(Find<JoinedEffect>(effects), nullptr);
  EXPECT_EQ(cluster_.WorkerOf(1), nullptr);
  EXPECT_EQ(*cluster_.WorkerOf(2), (WorkerId{v1::ROLE_LEARNER, 0}));
}

TEST(WorkerIdTest, NameAndBack) {
  for (const char* name : {"agent", "rollout-0", "scorer-12", "learner-3"}) {
    const auto worker = WorkerFromName(name);
    ASSERT_TRUE(worker.ok()) << name;
    EXPECT_EQ(NameOf(*worker), name);
  }
  for (const char* name : {"", "rollout", "rollout-", "rollout--1", "driver-0"}) {
    EXPECT_FALSE(WorkerFromName(name).ok()) << name;
  }
}

}  // namespace
}  // namespace retort::driver
