// The collective contract over Open MPI, under mpirun.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/collective/mpi_collective.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"

namespace retort {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CollectiveMpiTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/collective_mpi_test_", RandomHex(4));
    ASSERT_TRUE(MakeDirectories(folder_).ok());
    ASSERT_EQ(mkfifo((folder_ + "/gate").c_str(), 0600), 0);
  }
  void TearDown() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  // Open MPI's folders lie in the test's own: nothing stays in /tmp or /dev/shm.
  std::vector<std::string> Mpirun(int ranks, const std::string& run) const {
    return {"mpirun", "-n", absl::StrCat(ranks), "--oversubscribe",
            // Open MPI never frees what its unloaded modules allocated; LeakSanitizer cannot tell
            // it from ours.
            "-x", "ASAN_OPTIONS=detect_leaks=0", "--bind-to", "none", "--mca", "orte_tmpdir_base",
            folder_, "--mca", "btl_vader_backing_directory", folder_,
            ExecutableDirectory() + "/collective_rank", "--backend=mpi", "--run=" + run,
            "--gate=" + folder_ + "/gate"};
  }

  std::string folder_;
};

TEST_P(CollectiveMpiTest, Contract_WholeCases_EveryRankPasses) {
  ChildProcess mpirun(Mpirun(GetParam(), "whole"));
  EXPECT_EQ(mpirun.Wait(), 0) << mpirun.output();
  EXPECT_THAT(mpirun.output(), Not(HasSubstr("FAIL ")));
  for (int rank = 0; rank < GetParam(); ++rank) {
    EXPECT_THAT(mpirun.output(), HasSubstr(absl::StrCat("PASS ManyOperations ", rank)));
    EXPECT_THAT(mpirun.output(), HasSubstr(absl::StrCat("FINISH ", rank, " OK")));
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, CollectiveMpiTest, testing::Values(1, 2, 3, 4));

TEST_F(CollectiveMpiTest, Group_SomeRanksOnly_MembersReduceAndAllFinish) {
  std::vector<std::string> command = Mpirun(4, "whole");
  command.push_back("--members=1,3");
  ChildProcess mpirun(command);
  EXPECT_EQ(mpirun.Wait(), 0) << mpirun.output();
  EXPECT_THAT(mpirun.output(), HasSubstr("PASS ManyOperations 1"));
  EXPECT_THAT(mpirun.output(), Not(HasSubstr("PASS ManyOperations 2")));
  EXPECT_THAT(mpirun.output(), HasSubstr("FINISH 0 OK"));
}

// A broken group ends the processes with an error, so that mpirun's launcher starts them again.
TEST_F(CollectiveMpiTest, Contract_BreakingCases_EveryRankPassesAndRefusesToFinish) {
  ChildProcess mpirun(Mpirun(3, "breaking"));
  EXPECT_NE(mpirun.Wait(), 0);
  EXPECT_THAT(mpirun.output(), Not(HasSubstr("FAIL ")));
  for (const char* name : {"DifferentSizes", "Abort", "Deadline"}) {
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_THAT(mpirun.output(), HasSubstr(absl::StrCat("PASS ", name, " ", rank)));
    }
  }
  EXPECT_THAT(mpirun.output(), HasSubstr("FAILED_PRECONDITION: an MPI group broke"));
}

TEST_F(CollectiveMpiTest, AllReduce_RankKilledInside_MpirunEndsWithAnError) {
  const absl::Duration start = Clock::Real()->Now();
  ChildProcess mpirun(Mpirun(3, "kill"));
  EXPECT_EQ(mpirun.Wait(), 128 + SIGKILL);
  EXPECT_LT(Clock::Real()->Now() - start, absl::Seconds(60));
}

TEST(MpiRuntimeTest, Start_WithoutMpirun_FailedPrecondition) {
  EXPECT_FALSE(collective::MpiPlaceOfProcess().has_value());
  const absl::Status status = collective::MpiRuntime::Start().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace retort
