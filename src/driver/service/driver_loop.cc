#include "driver/service/driver_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/rpc/build_version.h"

namespace retort::driver {
namespace {

constexpr int kMaxAgentDeaths = 5;  // In a row, without a commit in between.
constexpr int kLogTailLines = 15;
// A gap between two ticks above this is the driver's own absence, not that of workers.
constexpr absl::Duration kAway = absl::Seconds(1);
// Before a tick that many events at most are taken: those of a busy moment never are all.
constexpr int kMaxEventsBeforeTick = 10000;

ClusterOptions ClusterFor(const DriverLoopOptions& options) {
  ClusterOptions cluster;
  cluster.scorers = options.schedule.scorers;
  cluster.rollouts = options.schedule.rollouts;
  cluster.learners = options.schedule.learners;
  cluster.external = options.external;
  cluster.build = std::string(rpc::BuildVersion());
  cluster.new_incarnation = [] { return RandomHex(16); };
  return cluster;
}

// What a worker said on stderr when it gave up: "retort-worker: CODE: reason", the last such line
// of its log.
std::string ReasonIn(absl::string_view log) {
  constexpr absl::string_view kPrefix = "\nretort-worker: ";
  const std::string text = absl::StrCat("\n", log);
  const size_t begin = text.rfind(kPrefix.data(), std::string::npos, kPrefix.size());
  if (begin == std::string::npos) return "";
  std::string reason = text.substr(begin + kPrefix.size());
  reason = reason.substr(0, reason.find('\n'));
  const size_t code_end = reason.find(": ");
  const bool has_code = code_end != std::string::npos &&
                        reason.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == code_end;
  return has_code ? reason.substr(code_end + 2) : reason;
}

}  // namespace

DriverLoop::DriverLoop(DriverLoopOptions options)
    : options_(std::move(options)),
      cluster_(ClusterFor(options_)),
      scheduler_(options_.schedule, std::move(options_.history)) {}

RunResult DriverLoop::Run(rpc::AttachService* service, AgentLauncher* agent) {
  service_ = service;
  agent_ = agent;
  broker_socket_ = absl::StrCat("retort-", RandomHex(16));
  last_tick_ = Now();
  next_tick_ = last_tick_ + options_.tick;
  Perform(scheduler_.Start(Now()));
  Check(options_.journal->Flush());  // A run has begun once its first epoch is on disk.
  if (over_) agent_ = nullptr;       // Nobody to start, nobody to end.
  if (agent_ != nullptr) LaunchAgent();
  while (!over_) {
    std::optional<rpc::AttachEvent> event =
        queue_.Pop(std::max(next_tick_ - Now(), absl::ZeroDuration()));
    if (event.has_value()) Take(*event);
    SeeStopSignals();
    if (!over_ && Now() >= next_tick_) {
      HandleQueued();
      if (!over_) OnTick();
    }
  }
  if (options_.observer != nullptr) options_.observer->OnState(State());
  result_.next_step = scheduler_.snapshot().committed_steps;
  result_.checkpoint_step = scheduler_.snapshot().newest_checkpoint;
  ShutDown();
  const absl::Status flushed = options_.journal->Flush();
  if (!flushed.ok() && result_.end != RunEnd::kFailed) {
    result_.end = RunEnd::kFailed;
    result_.message = std::string(flushed.message());
  }
  return std::move(result_);
}

void DriverLoop::LaunchAgent() {
  agent_incarnation_ = RandomHex(16);
  const absl::Status launched = agent_->Launch(agent_incarnation_);
  if (!launched.ok()) Fail(std::string(launched.message()), {});
}

void DriverLoop::SeeStopSignals() {
  const int signals = options_.stop_signals == nullptr ? 0 : options_.stop_signals->load();
  if (signals > signals_seen_ && !over_) {
    if (signals_seen_ == 0) {
      Note(
          "stopping: the running step is finished, then a checkpoint is written; once more to stop "
          "at once");
      Feed(StopRequested{});
    } else {
      Do(JobStopped{});
    }
    signals_seen_ = signals;
  }
}

void DriverLoop::Take(const rpc::AttachEvent& event) {
  std::visit([this](const auto& e) { On(e); }, event);
}

// What workers said while the driver was away counts before a tick ends their leases.
void DriverLoop::HandleQueued() {
  for (int i = 0; i < kMaxEventsBeforeTick && !over_; ++i) {
    const std::optional<rpc::AttachEvent> event = queue_.Pop(absl::ZeroDuration());
    if (!event.has_value()) return;
    Take(*event);
  }
}

void DriverLoop::OnTick() {
  const absl::Duration gap = Now() - std::exchange(last_tick_, Now());
  const absl::Duration away = gap > kAway ? gap : absl::ZeroDuration();
  if (away > absl::ZeroDuration()) {
    LogWarning("driver was away seconds={}", absl::ToDoubleSeconds(away));
  }
  next_tick_ = last_tick_ + options_.tick;
  if (agent_ != nullptr) {
    if (const auto end = agent_->TakeEnd()) LoseAgent(*end);
  }
  if (!over_) Perform(cluster_.OnTick(Now(), away));
  if (!over_) Feed(Tick{away});
  Check(options_.journal->Flush());
  if (options_.observer != nullptr) options_.observer->OnState(State());
}

RunState DriverLoop::State() const {
  return {scheduler_.snapshot(), cluster_.joined(), cluster_.expected(), cluster_.deaths()};
}

void DriverLoop::On(const rpc::ConnectionOpened& opened) {
  received_bytes_ += opened.bytes;
  if (opened.hello.role() == v1::ROLE_AGENT) return OnAgentHello(opened.connection, opened.hello);
  Perform(cluster_.OnHello(opened.connection, opened.hello, Now()));
}

void DriverLoop::OnAgentHello(rpc::ConnectionId connection, const v1::Hello& hello) {
  if (agent_ == nullptr || hello.incarnation() != agent_incarnation_ || agent_connection_ != 0) {
    service_->Close(connection,
                    absl::FailedPreconditionError("this run has no place for an agent"));
    return;
  }
  agent_connection_ = connection;
  const WorkerId agent{v1::ROLE_AGENT, 0};
  Check(options_.journal->Write(
      WorkerEvent{WorkerEventKind::kJoined, agent, hello.incarnation(), hello.pid(), ""}));
  SendWelcome(connection, agent);
  Perform(cluster_.OnAgentJoined(Now()));
}

void DriverLoop::SendWelcome(rpc::ConnectionId connection, WorkerId worker) {
  v1::DriverMessage message;
  v1::Welcome* welcome = message.mutable_welcome();
  welcome->set_job_id(options_.job_id);
  welcome->set_epoch(scheduler_.snapshot().epoch);
  welcome->set_role(worker.role);
  welcome->set_index(worker.index);
  *welcome->mutable_spec() = options_.spec;
  welcome->set_run_dir(options_.folder->path());
  welcome->mutable_inputs()->insert(options_.inputs.begin(), options_.inputs.end());
  // One process of the host hands out the shared segments: the agent, else the first learner.
  const bool serves =
      agent_ != nullptr ? worker.role == v1::ROLE_AGENT : worker == WorkerId{v1::ROLE_LEARNER, 0};
  welcome->mutable_shared_memory()->set_broker_socket(broker_socket_);
  welcome->mutable_shared_memory()->set_serve_broker(serves);
  SendTo(connection, message);
}

void DriverLoop::On(const rpc::MessageReceived& received) {
  received_bytes_ += received.bytes;
  if (received.connection == agent_connection_) {
    if (received.message.has_child_exited()) {
      Perform(cluster_.OnChildExited(received.message.child_exited(), Now()));
    }
    return;
  }
  const WorkerId* worker = cluster_.WorkerOf(received.connection);
  if (worker == nullptr) return;  // A fenced process: its stream is being closed.
  const WorkerId id = *worker;
  Feed(WorkerSaid{id, std::string(cluster_.IncarnationOf(id)), received.message});
}

void DriverLoop::On(const rpc::ConnectionClosed& closed) {
  if (closed.connection == agent_connection_) {
    return LoseAgent(absl::StrCat("its stream ended: ", closed.status.message()));
  }
  Perform(cluster_.OnDisconnected(closed.connection,
                                  closed.status.ok()
                                      ? "it said goodbye"
                                      : absl::StrCat("stream lost: ", closed.status.message()),
                                  Now()));
}

void DriverLoop::LoseAgent(const std::string& cause) {
  const bool was_there = agent_connection_ != 0;
  agent_connection_ = 0;
  if (shutting_down_ || over_) return;
  LogWarning("agent lost cause=\"{}\"", cause);
  Note(absl::StrCat("the agent died (", cause, "); it is started again with all workers"));
  agent_->Kill();
  agent_->Await(absl::Seconds(5));
  if (was_there) {
    Check(options_.journal->Write(
        WorkerEvent{WorkerEventKind::kLost, {v1::ROLE_AGENT, 0}, agent_incarnation_, 0, cause}));
  }
  Perform(cluster_.OnAgentLost(Now()));
  if (over_) return;
  if (++agent_deaths_ >= kMaxAgentDeaths) {
    return Fail(absl::StrCat("the agent died ", agent_deaths_,
                             " times without a step in between, last: ", cause),
                {v1::ROLE_AGENT, 0});
  }
  broker_socket_ = absl::StrCat("retort-", RandomHex(16));
  LaunchAgent();
}

void DriverLoop::Feed(const Event& event) {
  if (!over_) Perform(scheduler_.Handle(event, Now()));
}

void DriverLoop::Perform(std::vector<Action> actions) {
  for (const Action& action : actions) {
    if (over_) return;
    std::visit([this](const auto& a) { Do(a); }, action);
  }
}

void DriverLoop::Perform(std::vector<ClusterEffect> effects) {
  for (const ClusterEffect& effect : effects) {
    std::visit([this](const auto& e) { Do(e); }, effect);
  }
}

void DriverLoop::SendTo(rpc::ConnectionId connection, const v1::DriverMessage& message) {
  const absl::Status sent = service_->Send(connection, message);
  if (absl::IsResourceExhausted(sent) && message.ByteSizeLong() > rpc::kMaxCommandBytes) {
    return Fail(absl::StrCat("a command is too large to send: ", sent.message(),
                             "; use fewer samples a step"),
                {});
  }
  // Not found: it is gone, its ConnectionClosed is on the way. A peer that does not read loses its
  // lease.
  if (!sent.ok()) LogWarning("not sent connection={} error=\"{}\"", connection, sent.ToString());
}

void DriverLoop::Check(const absl::Status& status) {
  if (!status.ok()) Fail(std::string(status.message()), {});
}

void DriverLoop::Note(const std::string& line) {
  LogInfo("{}", line);
  if (options_.observer != nullptr) options_.observer->OnNote(line);
}

void DriverLoop::Fail(const std::string& message, WorkerId worker, bool bad_input) {
  if (over_) return;
  over_ = true;
  LogError("job failed message=\"{}\"", message);
  result_.end = RunEnd::kFailed;
  result_.message = message;
  result_.bad_input = bad_input;
  if (worker.role == v1::ROLE_UNSPECIFIED) return;
  result_.worker = NameOf(worker);
  result_.log_tail = LastLines(options_.folder->LogOf(worker), kLogTailLines);
  const std::string reason = ReasonIn(result_.log_tail);
  if (!bad_input || reason.empty()) return;
  result_.message = reason;  // One line that names the file; the log around it tells no more.
  result_.log_tail.clear();
}

void DriverLoop::ShutDown() {
  shutting_down_ = true;
  cluster_.BeginShutdown();
  v1::DriverMessage message;
  message.mutable_shutdown()->set_reason(result_.end == RunEnd::kDone ? "the job is done"
                                                                      : "the run ends");
  message.mutable_shutdown()->set_grace_ms(absl::ToInt64Milliseconds(options_.worker_grace));
  // Consumers before producers: nobody misses what it is still fetching.
  const std::pair<v1::Role, int> order[] = {{v1::ROLE_LEARNER, options_.schedule.learners},
                                            {v1::ROLE_SCORER, options_.schedule.scorers},
                                            {v1::ROLE_ROLLOUT, options_.schedule.rollouts}};
  for (const auto& [role, count] : order) {
    for (int i = 0; i < count; ++i) {
      const rpc::ConnectionId connection = cluster_.ConnectionOf({role, i});
      if (connection != 0) SendTo(connection, message);
    }
  }
  Drain(options_.worker_grace, [this] { return cluster_.joined() == 0; });
  if (agent_ == nullptr) return;
  if (agent_connection_ != 0) SendTo(agent_connection_, message);
  Drain(options_.worker_grace + absl::Seconds(2),
        [this] { return agent_->Await(absl::ZeroDuration()); });
  if (!agent_->Await(absl::ZeroDuration())) agent_->Kill();
  agent_->Await(absl::Seconds(5));
}

void DriverLoop::Drain(absl::Duration timeout, const std::function<bool()>& done) {
  const absl::Duration deadline = Now() + timeout;
  while (!done() && Now() < deadline) {
    const auto event = queue_.Pop(std::min(deadline - Now(), options_.tick));
    if (!event.has_value()) continue;
    if (const auto* closed = std::get_if<rpc::ConnectionClosed>(&*event)) {
      On(*closed);
    } else if (const auto* received = std::get_if<rpc::MessageReceived>(&*event)) {
      if (received->message.has_child_exited()) On(*received);
    } else {
      service_->Close(std::get<rpc::ConnectionOpened>(*event).connection,
                      absl::AbortedError("the run ends"));
    }
  }
}

}  // namespace retort::driver
