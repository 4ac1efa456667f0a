#include "common/ring/host_identity.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace retort::ring {
namespace {

TEST(HostIdentityTest, Own_AskedTwice_TheSameAndValid) {
  const auto own = OwnHostIdentity();
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(*own, *OwnHostIdentity());
  EXPECT_TRUE(CheckHostIdentity(*own).ok()) << *own;
  std::string boot;
  ASSERT_TRUE(std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot));
  ASSERT_EQ(boot.size(), 36);
  EXPECT_TRUE(absl::StartsWith(*own, boot + "/net")) << *own;
}

TEST(HostIdentityTest, Own_AnotherNetworkNamespace_Differs) {
  const std::string own = *OwnHostIdentity();
  enum Outcome { kDiffers, kSame, kNotAllowed };
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNET) != 0) _exit(kNotAllowed);
    const auto other = OwnHostIdentity();
    _exit(other.ok() && *other != own ? kDiffers : kSame);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNotAllowed) {
    GTEST_SKIP() << "unshare(CLONE_NEWNET) is not allowed here; it needs CAP_SYS_ADMIN";
  }
  EXPECT_EQ(WEXITSTATUS(status), kDiffers);
}

TEST(HostIdentityTest, Check_NotAName_InvalidArgument) {
  EXPECT_TRUE(CheckHostIdentity("box-7/net1").ok());
  EXPECT_TRUE(CheckHostIdentity(std::string(kMaxHostIdentityBytes, 'x')).ok());
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("\xc3\xa4"),
                                 std::string(kMaxHostIdentityBytes + 1, 'x')}) {
    EXPECT_EQ(CheckHostIdentity(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace retort::ring
