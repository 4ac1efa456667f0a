// The same job under mpirun: learners reduce over Open MPI and end with the same bits as over
// shared memory.
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;

TEST(MpiTest, SixRanks_SameWeightsAsSharedMemory) {
  JobOptions options;
  options.rollout_workers = 3;
  options.learner_ranks = 2;
  SmallRun shm("over-shm", options);
  ASSERT_EQ(shm.Start(), 0) << shm.output();

  SmallRun mpi("over-mpi", options);
  const std::string address = FreeAddress();
  const std::unique_ptr<ChildProcess> driver = mpi.Launch(
      {"--set", "cluster.learner.collective=mpi", "--workers=external", "--listen", address});
  ASSERT_TRUE(WaitFor([&] { return FileExists(mpi.folder() + "/token"); }));
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  // Open MPI never frees what its unloaded modules allocated; LeakSanitizer cannot tell it from
  // ours.
  ChildProcess launcher({"env", "ASAN_OPTIONS=detect_leaks=0",
                         absl::StrCat(source == nullptr ? "." : source, "/deploy/mpirun.sh"), "6",
                         "--driver=" + address, "--token-file=" + mpi.folder() + "/token",
                         "--worker=" + Program("retort-worker")});
  EXPECT_EQ(driver->Wait(), 0) << driver->output();
  EXPECT_EQ(launcher.Wait(), 0) << launcher.output();
  EXPECT_THAT(driver->output(), HasSubstr("final weights: " + shm.FinalWeights()));
}

}  // namespace
}  // namespace retort::e2e
