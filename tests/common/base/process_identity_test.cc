#include "common/base/process_identity.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(ProcessIdentityTest, IsAlive_Itself_True) {
  const auto self = OwnProcess();
  ASSERT_TRUE(self.ok());
  EXPECT_EQ(self->pid, getpid());
  EXPECT_TRUE(IsAlive(*self));
}

TEST(ProcessIdentityTest, IsAlive_OtherStartTime_False) {
  ProcessIdentity other = *OwnProcess();
  ++other.start_time;  // The process id was reused.
  EXPECT_FALSE(IsAlive(other));
}

TEST(ProcessIdentityTest, IsAlive_ZombieThatNobodyCollected_False) {
  int to_child[2];
  int to_parent[2];
  ASSERT_EQ(pipe(to_child), 0);
  ASSERT_EQ(pipe(to_parent), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    ProcessIdentity own = *OwnProcess();
    if (write(to_parent[1], &own, sizeof(own)) != sizeof(own)) _exit(1);
    char byte;
    if (read(to_child[0], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  ProcessIdentity child;
  ASSERT_EQ(read(to_parent[0], &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  EXPECT_TRUE(IsAlive(child));
  EXPECT_FALSE(IsEnding(child));
  ASSERT_EQ(write(to_child[1], "x", 1), 1);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);  // Ended, not collected.
  EXPECT_FALSE(IsAlive(child));
  EXPECT_TRUE(IsEnding(child));
  ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_FALSE(IsAlive(child));
  for (const int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) close(fd);
}

TEST(ProcessIdentityTest, IsAlive_NoDescriptorFree_TrueForItWasNotSeenDead) {
  const ProcessIdentity self = *OwnProcess();
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool alive = IsAlive(self);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_TRUE(alive);
}

TEST(ProcessIdentityTest, PackProcess_LargestIds_RoundTrip) {
  const ProcessIdentity cases[] = {{1, 0}, {4'194'303, 5}, {77, (uint64_t{1} << 42) - 1}};
  for (const ProcessIdentity& c : cases) EXPECT_EQ(UnpackProcess(PackProcess(c)), c) << c.pid;
  EXPECT_NE(PackProcess({77, 1}), PackProcess({77, 2})) << "a reused process id is another process";
  EXPECT_EQ(PackProcess({}), 0u);
}

TEST(ProcessIdentityTest, IsAlive_UnpackedIdentity_Found) {
  EXPECT_TRUE(IsAlive(UnpackProcess(PackProcess(*OwnProcess()))));
}

TEST(ProcessIdentityTest, IsAlive_Thread_True) { EXPECT_TRUE(IsAlive(ProcessIdentity{})); }

}  // namespace
}  // namespace retort
