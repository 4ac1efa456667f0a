#include "worker/agent/child_process.h"

#include <poll.h>
#include <signal.h>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "worker/agent/test_paths.h"

namespace retort::worker {
namespace {

ChildCommand Act(const std::string& act, const std::string& log) {
  return {
      .arguments = {FakeWorkerPath(), "--failpoint=" + act}, .environment = {}, .log_file = log};
}

// Reaps once the pidfd says that it is over.
ChildExit WaitFor(ChildProcess& child) {
  pollfd fd = {child.exit_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 30000), 1);
  return child.Reap();
}

TEST(ChildProcessTest, Reap_Exited_ItsCode) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(Act("exit=7", FreshPath("log")));
  ASSERT_TRUE(child.ok()) << child.status();
  const ChildExit exit = WaitFor(*child);
  EXPECT_EQ(exit.exit_code, 7);
  EXPECT_EQ(exit.signal, 0);
}

TEST(ChildProcessTest, Reap_Killed_TheSignal) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(Act("wait", FreshPath("log")));
  ASSERT_TRUE(child.ok()) << child.status();
  child->Signal(SIGKILL);
  const ChildExit exit = WaitFor(*child);
  EXPECT_EQ(exit.exit_code, -1);
  EXPECT_EQ(exit.signal, SIGKILL);
}

TEST(ChildProcessTest, Spawn_Output_AppendedToTheLog) {
  const std::string log = FreshPath("log");
  ASSERT_TRUE(WriteFileDurably(log, "before\n").ok());
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(Act("exit=0", log));
  ASSERT_TRUE(child.ok()) << child.status();
  WaitFor(*child);
  const std::string text = *ReadFile(log, 1 << 20);
  EXPECT_EQ(text.find("before\nargument --failpoint=exit=0\n"), 0u) << text;
  EXPECT_NE(text.find("on stderr\n"), std::string::npos) << text;
}

TEST(ChildProcessTest, Spawn_Environment_ReplacedAndInherited) {
  const std::string log = FreshPath("log");
  setenv("OMP_NUM_THREADS", "17", 1);
  setenv("RETORT_TEST_INHERITED", "kept", 1);
  ChildCommand command = Act("exit=0", log);
  command.environment = {"OMP_NUM_THREADS=3"};
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(command);
  ASSERT_TRUE(child.ok()) << child.status();
  WaitFor(*child);
  const std::string text = *ReadFile(log, 1 << 20);
  EXPECT_NE(text.find("OMP_NUM_THREADS 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("RETORT_TEST_INHERITED kept\n"), std::string::npos) << text;
}

TEST(ChildProcessTest, Spawn_OpenDescriptors_NotInherited) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);  // Without CLOEXEC.
  const UniqueFd read_end(pipe_fds[0]);
  const UniqueFd write_end(pipe_fds[1]);
  const std::string log = FreshPath("log");
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(Act("exit=0", log));
  ASSERT_TRUE(child.ok()) << child.status();
  WaitFor(*child);
  const std::string text = *ReadFile(log, 1 << 20);
  EXPECT_EQ(text.find("leaked descriptor"), std::string::npos) << text;
}

TEST(ChildProcessTest, Destroy_Running_KilledAndReaped) {
  pid_t pid;
  {
    absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(Act("stubborn", FreshPath("log")));
    ASSERT_TRUE(child.ok()) << child.status();
    pid = child->pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(ChildProcessTest, Spawn_NoSuchProgramOrFolder_NamesIt) {
  ChildCommand command = Act("exit=0", FreshPath("log"));
  command.arguments[0] = "/nonexistent/worker";
  EXPECT_NE(ChildProcess::Spawn(command).status().message().find("/nonexistent/worker"),
            absl::string_view::npos);
  EXPECT_FALSE(ChildProcess::Spawn(Act("exit=0", "/nonexistent/dir/log")).ok());
}

}  // namespace
}  // namespace retort::worker
