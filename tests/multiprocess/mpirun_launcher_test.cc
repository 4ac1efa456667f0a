// deploy/mpirun.sh with a stand-in for the worker: what it does when ranks end well, badly, or for
// ever badly.
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"

namespace retort {
namespace {

class MpirunLauncherTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/mpirun_launcher_test_", RandomHex(4));
    ASSERT_TRUE(MakeDirectories(folder_).ok());
    ASSERT_TRUE(WriteFileDurably(folder_ + "/token", "secret").ok());
    driver_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(bind(driver_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(driver_.get(), 16), 0);
    socklen_t length = sizeof(address);
    ASSERT_EQ(getsockname(driver_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
  }
  void TearDown() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  // Each rank adds a line to `starts` and then runs `body`.
  void WriteWorker(const std::string& body) {
    const std::string path = folder_ + "/worker";
    ASSERT_TRUE(WriteFileDurably(path, absl::StrCat("#!/bin/sh\necho \"$@\" >> ", folder_,
                                                    "/starts\n", body, "\n"))
                    .ok());
    ASSERT_EQ(chmod(path.c_str(), 0700), 0);
  }

  std::vector<std::string> Command(int ranks) const {
    return {absl::StrCat(std::getenv("RETORT_SOURCE_DIR"), "/deploy/mpirun.sh"),
            absl::StrCat(ranks),
            absl::StrCat("--driver=127.0.0.1:", port_),
            "--token-file=" + folder_ + "/token",
            "--worker=" + folder_ + "/worker",
            "--restart-pause=0",
            "--max-restarts=2",
            "--threads=1"};
  }
  int Launch(int ranks) const { return ChildProcess(Command(ranks)).Wait(); }

  int64_t Starts() const {
    const auto text = ReadFile(folder_ + "/starts", 1 << 20);
    return text.ok() ? std::count(text->begin(), text->end(), '\n') : 0;
  }

  std::string folder_;
  UniqueFd driver_;
  int port_ = 0;
};

TEST_F(MpirunLauncherTest, Workers_EndWell_StatusZeroAndNothingLeft) {
  WriteWorker("exit 0");
  EXPECT_EQ(Launch(3), 0);
  EXPECT_EQ(Starts(), 3);
  const auto text = ReadFile(folder_ + "/starts", 1 << 20);
  EXPECT_EQ(
      text->substr(0, text->find('\n')),
      absl::StrCat("--driver=127.0.0.1:", port_, " --token-file=", folder_, "/token --threads=1"));
  EXPECT_FALSE(FileExists(folder_ + "/mpi"));
}

TEST_F(MpirunLauncherTest, Workers_FailOnceWhileTheDriverWaits_StartedAgain) {
  WriteWorker("[ $(wc -l < " + folder_ + "/starts) -gt 1 ]");
  EXPECT_EQ(Launch(1), 0);
  EXPECT_EQ(Starts(), 2);
}

TEST_F(MpirunLauncherTest, Workers_KilledEveryTime_GivesUpAfterTheBound) {
  WriteWorker("kill -9 $$");
  EXPECT_EQ(Launch(1), 3);
  EXPECT_EQ(Starts(), 3);
}

TEST_F(MpirunLauncherTest, Workers_RefuseTheirInput_NotStartedAgain) {
  WriteWorker("exit 2");
  EXPECT_EQ(Launch(1), 2);
  EXPECT_EQ(Starts(), 1);
}

TEST_F(MpirunLauncherTest, Workers_FailAndTheDriverIsGone_NotStartedAgain) {
  WriteWorker("exit 1");
  driver_.Reset();
  EXPECT_EQ(Launch(1), 4);
  EXPECT_EQ(Starts(), 1);
}

TEST_F(MpirunLauncherTest, Start_FilesOfAKilledRun_Removed) {
  ASSERT_TRUE(MakeDirectories(folder_ + "/mpi/vader").ok());
  ASSERT_TRUE(WriteFileDurably(folder_ + "/mpi/vader/vader_segment.old", "x").ok());
  WriteWorker("[ ! -e " + folder_ + "/mpi/vader/vader_segment.old ] || exit 2");
  EXPECT_EQ(Launch(1), 0);
}

TEST_F(MpirunLauncherTest, Terminated_WhileRunning_RanksEndAndStatus143) {
  // Blocks on a FIFO, so the test knows that the ranks run.
  WriteWorker("trap 'exit 0' TERM; echo up > " + folder_ + "/up; read x < " + folder_ + "/up");
  ASSERT_EQ(mkfifo((folder_ + "/up").c_str(), 0600), 0);
  ChildProcess launcher(Command(1));
  const UniqueFd up(open((folder_ + "/up").c_str(), O_RDONLY | O_CLOEXEC));
  char text[3];
  ASSERT_EQ(read(up.get(), text, sizeof(text)), 3);
  kill(launcher.pid(), SIGTERM);
  EXPECT_EQ(launcher.Wait(), 143);
  EXPECT_EQ(Starts(), 1);
}

TEST_F(MpirunLauncherTest, Usage_MissingOrBad_StatusTwo) {
  WriteWorker("exit 0");
  std::vector<std::string> no_driver = Command(1);
  no_driver[2] = "--driver=nowhere";
  EXPECT_EQ(ChildProcess(no_driver).Wait(), 2);
  std::vector<std::string> no_token = Command(1);
  no_token[3] = "--token-file=/no/such/file";
  EXPECT_EQ(ChildProcess(no_token).Wait(), 2);
  std::vector<std::string> no_ranks = Command(0);
  EXPECT_EQ(ChildProcess(no_ranks).Wait(), 2);
  EXPECT_EQ(Starts(), 0);
}

}  // namespace
}  // namespace retort
