// The collective contract between real processes over shared memory, and what happens when one of
// them dies.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/ring/fd_broker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"

namespace retort {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CollectiveShmTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto broker = ring::FdBroker::Start({.socket = socket_, .token = "test-token"});
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = *std::move(broker);
    gate_ = absl::StrCat(testing::TempDir(), "/", socket_, ".gate");
    ASSERT_EQ(mkfifo(gate_.c_str(), 0600), 0);
  }
  void TearDown() override { unlink(gate_.c_str()); }

  std::unique_ptr<ChildProcess> StartRank(const std::string& run, int rank, int world) {
    return std::make_unique<ChildProcess>(std::vector<std::string>{
        ExecutableDirectory() + "/collective_rank", "--backend=shm", "--run=" + run,
        absl::StrCat("--rank=", rank), absl::StrCat("--world=", world), "--socket=" + socket_,
        "--token=test-token", "--gate=" + gate_});
  }

  std::vector<std::unique_ptr<ChildProcess>> StartRanks(const std::string& run, int world) {
    std::vector<std::unique_ptr<ChildProcess>> ranks;
    for (int rank = 0; rank < world; ++rank) ranks.push_back(StartRank(run, rank, world));
    return ranks;
  }

  void ExpectAllPass(const std::string& run, int world) {
    for (auto& rank : StartRanks(run, world)) {
      EXPECT_EQ(rank->Wait(), 0);
      EXPECT_THAT(rank->output(), HasSubstr("PASS"));
      EXPECT_THAT(rank->output(), Not(HasSubstr("FAIL ")));
    }
    EXPECT_EQ(broker_->segment_count(), 0) << "a group leaves no memory behind";
  }

  const std::string socket_ = "retort-test-" + RandomHex(8);
  std::string gate_;
  std::unique_ptr<ring::FdBroker> broker_;
};

TEST_P(CollectiveShmTest, Contract_WholeCases_EveryRankPasses) {
  ExpectAllPass("whole", GetParam());
}

INSTANTIATE_TEST_SUITE_P(Worlds, CollectiveShmTest, testing::Values(1, 2, 3, 4));

// Each case in a group of its own: a new generation works after the last one failed.
TEST_F(CollectiveShmTest, Contract_BreakingCases_EveryRankPasses) { ExpectAllPass("breaking", 3); }

class CollectiveShmKillTest : public CollectiveShmTest {
 protected:
  void ExpectSurvivorsGoOn(const std::string& run) {
    const absl::Duration start = Clock::Real()->Now();
    std::vector<std::unique_ptr<ChildProcess>> ranks = StartRanks(run, 3);
    EXPECT_EQ(ranks[2]->Wait(), 128 + SIGKILL);
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(ranks[rank]->Wait(), 0);
      EXPECT_THAT(ranks[rank]->output(), HasSubstr(absl::StrCat("PASS kill ", rank)));
      EXPECT_THAT(ranks[rank]->output(), HasSubstr(absl::StrCat("PASS second ", rank)));
    }
    // The group's deadline is five minutes: it was the death that they saw.
    EXPECT_LT(Clock::Real()->Now() - start, absl::Seconds(60));
    EXPECT_EQ(broker_->segment_count(), 0);
  }
};

TEST_F(CollectiveShmKillTest, AllReduce_RankKilledInside_OthersUnavailableAndFormANewGeneration) {
  ExpectSurvivorsGoOn("kill");
}

TEST_F(CollectiveShmKillTest, AllReduceInBuffer_RankKilledInside_OthersUnavailable) {
  ExpectSurvivorsGoOn("kill_in_buffer");
}

}  // namespace
}  // namespace retort
