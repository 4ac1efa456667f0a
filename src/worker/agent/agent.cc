#include "worker/agent/agent.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/ring/fd_broker.h"
#include "common/rpc/attach_client.h"
#include "common/rpc/build_version.h"
#include "common/rpc/channel.h"
#include "worker/agent/child_command.h"
#include "worker/agent/child_process.h"
#include "worker/agent/exit_code.h"
#include "worker/agent/termination.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kTerminationGrace = absl::Seconds(10);
constexpr absl::Duration kGoodbyeDeadline = absl::Seconds(2);

struct Child {
  std::string worker;
  ChildProcess process;
};

class Agent {
 public:
  explicit Agent(const AgentOptions& options) : options_(options) {}

  absl::Status Connect() {
    wake_fd_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    signal_fd_ = TerminationSignalFd();
    RETORT_CHECK(wake_fd_.valid());
    RETORT_ASSIGN_OR_RETURN(const rpc::AccessToken token,
                            rpc::AccessToken::ReadFile(options_.token_file));
    rpc::AttachClientOptions attach;
    RETORT_ASSIGN_OR_RETURN(attach.channel,
                            rpc::MakeChannel(options_.driver_address, options_.tls));
    attach.hello.set_incarnation(options_.incarnation);
    attach.hello.set_role(v1::ROLE_AGENT);
    attach.hello.set_pid(getpid());
    attach.hello.set_build(std::string(rpc::BuildVersion()));
    attach.welcome_deadline = options_.welcome_deadline;
    attach.notify_fd = wake_fd_.get();
    RETORT_ASSIGN_OR_RETURN(client_, rpc::AttachClient::Connect(token, std::move(attach)));
    RETORT_RETURN_IF_ERROR(MakeDirectories(client_->welcome().run_dir() + "/logs"));
    const std::string& socket = client_->welcome().shared_memory().broker_socket();
    if (socket.empty()) return absl::OkStatus();
    RETORT_ASSIGN_OR_RETURN(broker_,
                            ring::FdBroker::Start({.socket = socket, .token = token.secret()}));
    return absl::OkStatus();
  }

  // Returns when asked to stop and all children are gone, or the driver is lost.
  absl::Status Run() {
    while (!(stopping_ && children_.empty())) {
      Wait();
      if (TerminationPending()) BeginStop("SIGTERM", kTerminationGrace);
      ReapEnded();
      RETORT_RETURN_IF_ERROR(HandleMessages());
      if (stopping_ && options_.clock->Now() >= kill_at_) KillAll();
    }
    const absl::Status goodbye = client_->Finish(kGoodbyeDeadline);
    if (!goodbye.ok()) LogInfo("driver stream ended: {}", std::string(goodbye.message()));
    return absl::OkStatus();
  }

 private:
  void Wait() {
    fds_.clear();
    fds_.push_back({wake_fd_.get(), POLLIN, 0});
    // Asked once; what is still pending would make poll spin.
    fds_.push_back({stopping_ ? -1 : signal_fd_.get(), POLLIN, 0});
    for (const auto& [incarnation, child] : children_) {
      fds_.push_back({child.process.exit_fd(), POLLIN, 0});
    }
    int timeout_ms = -1;
    if (stopping_ && !killed_) {
      const absl::Duration left = kill_at_ - options_.clock->Now();
      timeout_ms =
          static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))));
      timeout_ms = std::max(timeout_ms, 0);
    }
    RETORT_CHECK(poll(fds_.data(), fds_.size(), timeout_ms) >= 0 || errno == EINTR);
  }

  bool TerminationPending() const { return !stopping_ && (fds_[1].revents & POLLIN) != 0; }

  void ReapEnded() {
    size_t at = 2;  // In the order in which Wait filled fds_.
    for (auto it = children_.begin(); it != children_.end(); ++at) {
      if (fds_[at].revents == 0) {
        ++it;
        continue;
      }
      const pid_t pid = it->second.process.pid();
      const ChildExit exit = it->second.process.Reap();
      LogInfo("child ended worker={} pid={} exit_code={} signal={}", it->second.worker, pid,
              exit.exit_code, exit.signal);
      ReportExit(it->second.worker, it->first, pid, exit);
      it = children_.erase(it);
    }
  }

  absl::Status HandleMessages() {
    eventfd_t count;
    (void)!eventfd_read(wake_fd_.get(), &count);  // EAGAIN: poll was woken by something else.
    while (true) {
      const absl::StatusOr<v1::DriverMessage> message = client_->Pop(absl::ZeroDuration());
      if (absl::IsDeadlineExceeded(message.status())) return absl::OkStatus();
      RETORT_RETURN_IF_ERROR(message.status());
      Handle(*message);
    }
  }

  void Handle(const v1::DriverMessage& message) {
    switch (message.kind_case()) {
      case v1::DriverMessage::kSpawnChild:
        Spawn(message.spawn_child());
        break;
      case v1::DriverMessage::kKillChild:
        Kill(message.kill_child());
        break;
      case v1::DriverMessage::kShutdown:
        BeginStop(message.shutdown().reason(),
                  absl::Milliseconds(std::max<int64_t>(message.shutdown().grace_ms(), 0)));
        break;
      case v1::DriverMessage::kReleaseArtifacts:
        break;  // An agent holds none.
      default:
        LogWarning("ignored a command that is not an agent's kind={}",
                   static_cast<int>(message.kind_case()));
    }
  }

  void Spawn(const v1::SpawnChild& request) {
    if (stopping_ || children_.count(request.incarnation()) > 0) {
      LogWarning("ignored spawn worker={} incarnation={}: running already, or stopping",
                 request.worker(), request.incarnation());
      return;
    }
    const ChildLaunch launch{options_.worker_binary,   options_.driver_address,
                             options_.token_file,      client_->welcome().run_dir(),
                             options_.child_arguments, getpid()};
    const absl::StatusOr<ChildCommand> command = MakeChildCommand(launch, request);
    absl::StatusOr<ChildProcess> process =
        command.ok() ? ChildProcess::Spawn(*command) : command.status();
    if (!process.ok()) {
      LogError("cannot start worker={}: {}", request.worker(),
               std::string(process.status().message()));
      ReportExit(request.worker(), request.incarnation(), 0,
                 {.exit_code = ExitCodeFor(process.status()), .signal = 0});
      return;
    }
    LogInfo("started worker={} pid={} incarnation={}", request.worker(), process->pid(),
            request.incarnation());
    children_.emplace(request.incarnation(), Child{request.worker(), *std::move(process)});
  }

  void Kill(const v1::KillChild& request) {
    const auto found = children_.find(request.incarnation());
    if (found == children_.end() || found->second.worker != request.worker()) {
      LogInfo("ignored stale kill worker={} incarnation={}", request.worker(),
              request.incarnation());
      return;
    }
    found->second.process.Signal(SIGKILL);
  }

  void BeginStop(const std::string& reason, absl::Duration grace) {
    if (stopping_) return;
    LogInfo("stopping cause={} children={}", reason, children_.size());
    stopping_ = true;
    kill_at_ = options_.clock->Now() + grace;
    for (const auto& [incarnation, child] : children_) child.process.Signal(SIGTERM);
  }

  void KillAll() {
    if (std::exchange(killed_, true)) return;
    for (const auto& [incarnation, child] : children_) {
      LogWarning("killed worker={}: it did not end within its grace", child.worker);
      child.process.Signal(SIGKILL);
    }
  }

  void ReportExit(const std::string& worker, const std::string& incarnation, pid_t pid,
                  const ChildExit& exit) {
    v1::WorkerMessage message;
    v1::ChildExited* const exited = message.mutable_child_exited();
    exited->set_worker(worker);
    exited->set_incarnation(incarnation);
    exited->set_pid(pid);
    exited->set_exit_code(exit.exit_code);
    exited->set_signal(exit.signal);
    const absl::Status sent = client_->Send(message);
    // HandleMessages ends the agent when the stream is lost.
    if (!sent.ok()) LogWarning("child exit not reported: {}", std::string(sent.message()));
  }

  const AgentOptions& options_;
  UniqueFd wake_fd_;  // Before client_, which writes to it.
  UniqueFd signal_fd_;
  std::unique_ptr<rpc::AttachClient> client_;
  std::unique_ptr<ring::FdBroker> broker_;  // Outlives the children, which use its segments.
  std::map<std::string, Child> children_;   // By incarnation; the destructor kills and reaps.
  std::vector<pollfd> fds_;
  bool stopping_ = false;
  bool killed_ = false;
  absl::Duration kill_at_;
};

}  // namespace

absl::Status RunAgent(const AgentOptions& options) {
  Agent agent(options);
  RETORT_RETURN_IF_ERROR(agent.Connect());
  return agent.Run();
}

}  // namespace retort::worker
