#include "worker/tools/staging_guard.h"

#include <unistd.h>

#include "common/base/file.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

TEST(StagingGuardDeathTest, Signal_RemovesTheFolderAndEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string folder = testing::TempDir() + "/staging_guard_test";
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ASSERT_TRUE(MakeDirectories(folder + "/inside").ok());
    EXPECT_EXIT(
        {
          StagingGuard guard;
          guard.Watch(folder);
          kill(getpid(), signal);
          while (true) pause();
        },
        testing::ExitedWithCode(128 + signal), "");
    EXPECT_FALSE(FileExists(folder));
  }
}

TEST(StagingGuardTest, WithoutASignal_LeavesTheFolder) {
  const std::string folder = testing::TempDir() + "/staging_guard_kept";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  {
    StagingGuard guard;
    guard.Watch(folder);
  }
  EXPECT_TRUE(FileExists(folder));
  ASSERT_TRUE(RemoveRecursively(folder).ok());
}

}  // namespace
}  // namespace retort::worker
