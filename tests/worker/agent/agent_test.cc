#include "worker/agent/agent.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <future>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/ring/broker_client.h"
#include "gtest/gtest.h"
#include "testing/fake_driver.h"
#include "worker/agent/child_process.h"
#include "worker/agent/test_paths.h"

namespace retort::worker {
namespace {

using ::retort::testing::FakeDriver;
using rpc::ConnectionId;
using rpc::MessageReceived;

// An agent on its own thread, attached to a fake driver.
class AgentTest : public ::testing::Test {
 protected:
  AgentTest() : run_dir_(FreshPath("run")), token_file_(FreshPath("token")) {
    EXPECT_TRUE(driver_->token().WriteFile(token_file_).ok());
    agent_ = std::async(std::launch::async, [this] { return RunAgent(Options()); });
    v1::Welcome welcome;
    welcome.set_run_dir(run_dir_);
    welcome.mutable_shared_memory()->set_broker_socket(socket_);
    const rpc::ConnectionOpened opened = driver_->Welcome(welcome);
    EXPECT_EQ(opened.hello.role(), v1::ROLE_AGENT);
    EXPECT_TRUE(opened.hello.artifact_address().empty());
    connection_ = opened.connection;
  }
  ~AgentTest() override {
    if (!agent_.valid()) return;
    EXPECT_TRUE(Shutdown(absl::ZeroDuration()).ok());
  }

  AgentOptions Options() const {
    return {.worker_binary = FakeWorkerPath(),
            .driver_address = driver_->address(),
            .token_file = token_file_,
            .incarnation = RandomHex(16)};
  }

  // The incarnation of the child.
  std::string Spawn(const std::string& worker, const std::string& act) {
    v1::DriverMessage message;
    v1::SpawnChild* const spawn = message.mutable_spawn_child();
    spawn->set_worker(worker);
    spawn->set_role(v1::ROLE_SCORER);
    spawn->set_incarnation(RandomHex(16));
    spawn->set_threads(1);
    spawn->add_failpoints(act);
    driver_->Send(connection_, message);
    return spawn->incarnation();
  }
  void Kill(const std::string& worker, const std::string& incarnation) {
    v1::DriverMessage message;
    message.mutable_kill_child()->set_worker(worker);
    message.mutable_kill_child()->set_incarnation(incarnation);
    driver_->Send(connection_, message);
  }
  absl::Status Shutdown(absl::Duration grace) {
    v1::DriverMessage message;
    message.mutable_shutdown()->set_reason("test is over");
    message.mutable_shutdown()->set_grace_ms(absl::ToInt64Milliseconds(grace));
    driver_->Send(connection_, message);
    return agent_.get();
  }
  v1::ChildExited NextExit() { return driver_->Next<MessageReceived>().message.child_exited(); }
  // Waits until the child has written `text` to its log.
  void AwaitLog(const std::string& worker, const std::string& text) {
    const std::string path = run_dir_ + "/logs/" + worker + ".log";
    const absl::Duration deadline = Clock::Real()->Now() + absl::Seconds(30);
    while (Clock::Real()->Now() < deadline) {
      const absl::StatusOr<std::string> log = ReadFile(path, 1 << 20);
      if (log.ok() && log->find(text) != std::string::npos) return;
      poll(nullptr, 0, 5);
    }
    ADD_FAILURE() << path << " never said " << text;
  }

  const std::string run_dir_;
  const std::string token_file_;
  const std::string socket_ = "retort-agent-test-" + RandomHex(8);
  std::unique_ptr<FakeDriver> driver_ = std::make_unique<FakeDriver>();
  std::future<absl::Status> agent_;
  ConnectionId connection_ = 0;
};

TEST_F(AgentTest, Spawn_ChildExits_ReportedWithItsCode) {
  const std::string incarnation = Spawn("scorer-0", "exit=5");
  const v1::ChildExited exited = NextExit();
  EXPECT_EQ(exited.worker(), "scorer-0");
  EXPECT_EQ(exited.incarnation(), incarnation);
  EXPECT_GT(exited.pid(), 0);
  EXPECT_EQ(exited.exit_code(), 5);
  EXPECT_EQ(exited.signal(), 0);
  AwaitLog("scorer-0", "OMP_WAIT_POLICY passive\n");
}

TEST_F(AgentTest, Kill_RightIncarnation_KilledAndReported) {
  const std::string incarnation = Spawn("scorer-0", "stubborn");
  Kill("scorer-0", incarnation);
  const v1::ChildExited exited = NextExit();
  EXPECT_EQ(exited.exit_code(), -1);
  EXPECT_EQ(exited.signal(), SIGKILL);
}

TEST_F(AgentTest, Kill_StaleIncarnation_ChildLives) {
  const std::string incarnation = Spawn("scorer-0", "wait");
  Kill("scorer-0", RandomHex(16));
  Kill("scorer-1", incarnation);
  Spawn("scorer-2", "exit=0");  // Handled after the kills.
  EXPECT_EQ(NextExit().worker(), "scorer-2");
  EXPECT_TRUE(driver_->NothingWithin(absl::ZeroDuration()));
}

TEST_F(AgentTest, Spawn_SameIncarnationTwice_OneChild) {
  const std::string incarnation = Spawn("scorer-0", "wait");
  v1::DriverMessage again;
  again.mutable_spawn_child()->set_worker("scorer-0");
  again.mutable_spawn_child()->set_incarnation(incarnation);
  driver_->Send(connection_, again);
  Kill("scorer-0", incarnation);
  EXPECT_EQ(NextExit().signal(), SIGKILL);
  EXPECT_TRUE(Shutdown(absl::Seconds(10)).ok());
  driver_->Next<rpc::ConnectionClosed>();
}

TEST_F(AgentTest, Spawn_Malformed_ReportedAsBadInput) {
  Spawn("../evil", "exit=0");
  const v1::ChildExited exited = NextExit();
  EXPECT_EQ(exited.worker(), "../evil");
  EXPECT_EQ(exited.pid(), 0);
  EXPECT_EQ(exited.exit_code(), 2);
}

TEST_F(AgentTest, Shutdown_ChildrenObey_SigtermAndOk) {
  Spawn("scorer-0", "wait");
  Spawn("scorer-1", "wait");
  AwaitLog("scorer-0", "ready");
  AwaitLog("scorer-1", "ready");
  EXPECT_TRUE(Shutdown(absl::Seconds(30)).ok());
  EXPECT_EQ(NextExit().signal(), SIGTERM);
  EXPECT_EQ(NextExit().signal(), SIGTERM);
  EXPECT_TRUE(driver_->Next<rpc::ConnectionClosed>().status.ok());
}

TEST_F(AgentTest, Shutdown_ChildIgnoresSigterm_KilledAfterGrace) {
  Spawn("scorer-0", "stubborn");
  AwaitLog("scorer-0", "ready");
  EXPECT_TRUE(Shutdown(absl::Milliseconds(100)).ok());
  EXPECT_EQ(NextExit().signal(), SIGKILL);
}

TEST_F(AgentTest, DriverLost_ChildrenKilledAndError) {
  Spawn("scorer-0", "stubborn");
  const std::string incarnation = Spawn("scorer-1", "exit=0");
  const pid_t gone = static_cast<pid_t>(NextExit().pid());  // The agent has handled both.
  EXPECT_GT(gone, 0);
  driver_.reset();
  EXPECT_EQ(agent_.get().code(), absl::StatusCode::kUnavailable);
  // The agent's pid table is empty: no child of this process is left.
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(AgentTest, Broker_ServedWhileTheAgentRuns) {
  const ring::BrokerAddress address{socket_, driver_->token().secret()};
  const auto segment =
      ring::OpenSegment(address, "weights", 4096, ring::Access::kReadWrite, absl::Seconds(30));
  EXPECT_TRUE(segment.ok()) << segment.status();
  EXPECT_TRUE(Shutdown(absl::Seconds(1)).ok());
  EXPECT_FALSE(
      ring::OpenSegment(address, "weights", 4096, ring::Access::kReadWrite, absl::Milliseconds(50))
          .ok());
}

// An agent as a process, because its death is what matters.
class AgentProcessTest : public ::testing::Test {
 protected:
  AgentProcessTest() {
    const std::string token_file = FreshPath("token");
    EXPECT_TRUE(driver_.token().WriteFile(token_file).ok());
    absl::StatusOr<ChildProcess> agent = ChildProcess::Spawn(
        {.arguments = {FakeWorkerPath(), "--failpoint=agent", "--driver=" + driver_.address(),
                       "--token-file=" + token_file, "--incarnation=" + RandomHex(16),
                       absl::StrCat("--parent-pid=", getpid())},
         .environment = {},
         .log_file = FreshPath("agent.log")});
    EXPECT_TRUE(agent.ok()) << agent.status();
    agent_ = std::make_unique<ChildProcess>(*std::move(agent));
    v1::Welcome welcome;
    welcome.set_run_dir(FreshPath("run"));
    connection_ = driver_.Welcome(welcome).connection;
  }

  void Spawn(const std::string& worker, const std::string& act) {
    v1::DriverMessage message;
    v1::SpawnChild* const spawn = message.mutable_spawn_child();
    spawn->set_worker(worker);
    spawn->set_role(v1::ROLE_SCORER);
    spawn->set_incarnation(RandomHex(16));
    spawn->set_threads(1);
    spawn->add_failpoints(act);
    driver_.Send(connection_, message);
  }
  ChildExit AgentExit() {
    pollfd fd = {agent_->exit_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&fd, 1, 30000), 1);
    return agent_->Reap();
  }

  FakeDriver driver_;
  std::unique_ptr<ChildProcess> agent_;
  ConnectionId connection_ = 0;
};

TEST_F(AgentProcessTest, Sigterm_ChildrenEndedAndExitZero) {
  Spawn("scorer-0", "wait");
  Spawn("scorer-1", "exit=0");
  driver_.Next<MessageReceived>();  // Both were started.
  agent_->Signal(SIGTERM);
  EXPECT_EQ(AgentExit().exit_code, 0);
  EXPECT_EQ(driver_.Next<MessageReceived>().message.child_exited().signal(), SIGTERM);
}

TEST_F(AgentProcessTest, Sigint_Ignored) {
  agent_->Signal(SIGINT);
  Spawn("scorer-0", "exit=0");
  EXPECT_EQ(driver_.Next<MessageReceived>().message.child_exited().exit_code(), 0);
  agent_->Signal(SIGTERM);
  EXPECT_EQ(AgentExit().exit_code, 0);
}

TEST_F(AgentProcessTest, KilledAgent_ItsChildDies) {
  // The child of the agent is an agent, too: its stream to the driver tells when it dies.
  Spawn("scorer-0", "agent");
  v1::Welcome welcome;
  welcome.set_run_dir(FreshPath("run"));
  const ConnectionId child = driver_.Welcome(welcome).connection;
  agent_->Signal(SIGKILL);
  EXPECT_EQ(AgentExit().signal, SIGKILL);
  const ConnectionId first = driver_.Next<rpc::ConnectionClosed>().connection;
  const ConnectionId second = driver_.Next<rpc::ConnectionClosed>().connection;
  EXPECT_EQ(std::min(first, second), std::min(connection_, child));
  EXPECT_EQ(std::max(first, second), std::max(connection_, child));
}

TEST(RunAgentTest, Options_Malformed_Errors) {
  AgentOptions options = {.worker_binary = "/bin/true",
                          .driver_address = "127.0.0.1:1",
                          .token_file = "/nonexistent/token",
                          .incarnation = RandomHex(16)};
  EXPECT_EQ(RunAgent(options).code(), absl::StatusCode::kNotFound);
  options.token_file = FreshPath("token");
  ASSERT_TRUE(rpc::AccessToken::Generate().WriteFile(options.token_file).ok());
  options.welcome_deadline = absl::Milliseconds(50);
  EXPECT_EQ(RunAgent(options).code(), absl::StatusCode::kDeadlineExceeded);
  options.driver_address = "nowhere";
  EXPECT_EQ(RunAgent(options).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::worker
