#include "worker/agent/driver_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"
#include "common/ring/host_identity.h"
#include "common/rpc/artifact_fetch.h"
#include "common/rpc/artifact_service.h"
#include "common/rpc/attach_client.h"
#include "common/rpc/build_version.h"
#include "common/rpc/channel.h"
#include "common/rpc/server.h"
#include "worker/agent/busy_watch.h"
#include "worker/agent/exit_code.h"
#include "worker/agent/report_text.h"
#include "worker/agent/termination.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);
constexpr absl::Duration kGoodbyeDeadline = absl::Seconds(5);
constexpr absl::Duration kServerGrace = absl::Seconds(2);

absl::StatusOr<std::string> ListenAddress(const DriverSessionOptions& options) {
  if (!options.artifact_listen.empty()) return options.artifact_listen;
  RETORT_ASSIGN_OR_RETURN(rpc::Endpoint endpoint, rpc::ParseEndpoint(options.driver_address));
  if (!endpoint.IsLoopback()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the driver ", options.driver_address,
                     " is not on loopback; give an address of this host to serve artifacts at"));
  }
  if (endpoint.host == "localhost") endpoint.host = "127.0.0.1";
  endpoint.port = 0;
  return endpoint.ToString();
}

std::string HostName() {
  char name[256] = {};
  RETORT_CHECK(gethostname(name, sizeof(name) - 1) == 0);
  return ReportText(name, sizeof(name) - 1);
}

absl::StatusOr<std::string> HostIdentity(const DriverSessionOptions& options) {
  if (options.host_identity.empty()) return ring::OwnHostIdentity();
  RETORT_RETURN_IF_ERROR(ring::CheckHostIdentity(options.host_identity));
  return options.host_identity;
}

v1::Hello MakeHello(const DriverSessionOptions& options, const std::string& artifact_address) {
  v1::Hello hello;
  hello.set_incarnation(options.incarnation);
  hello.set_role(options.role);
  hello.set_index(options.index);
  if (options.mpi_rank) hello.set_mpi_rank(*options.mpi_rank);
  if (options.mpi_world_size) hello.set_mpi_world_size(*options.mpi_world_size);
  hello.set_pid(getpid());
  hello.set_host(HostName());
  hello.set_artifact_address(artifact_address);
  hello.set_build(std::string(rpc::BuildVersion()));
  hello.set_host_identity(options.host_identity);
  return hello;
}

// A driver that refuses this process (another build, no such place in its plan, another token) will
// refuse it again: INVALID_ARGUMENT ends the process as bad input does. One that is not there yet,
// or has replaced this process, answers with other codes, and a new process may do better.
absl::Status Refusal(const absl::Status& welcome) {
  if (!absl::IsFailedPrecondition(welcome) && !absl::IsUnauthenticated(welcome)) return welcome;
  return absl::InvalidArgumentError(
      absl::StrCat("the driver refused this process: ", welcome.message()));
}

// What Progress of this command's work carries.
v1::Fence FenceOf(const v1::DriverMessage& command) {
  if (command.has_rollout_lease()) return command.rollout_lease().fence();
  if (command.has_score_lease()) return command.score_lease().fence();
  if (command.has_train_step()) return command.train_step().fence();
  v1::Fence fence;  // The others belong to an epoch alone.
  if (command.has_form_group()) fence.set_epoch(command.form_group().epoch());
  if (command.has_group_identity()) fence.set_epoch(command.group_identity().epoch());
  if (command.has_write_checkpoint()) fence.set_epoch(command.write_checkpoint().epoch());
  if (command.has_export_model()) fence.set_epoch(command.export_model().epoch());
  return fence;
}

// Calls `on_termination` on its own thread when SIGTERM comes; the destructor ends the thread.
class TerminationWatch {
 public:
  explicit TerminationWatch(std::function<void()> on_termination)
      : signal_fd_(TerminationSignalFd()),
        stop_fd_(eventfd(0, EFD_CLOEXEC)),
        thread_([this, act = std::move(on_termination)] { Run(act); }) {}
  ~TerminationWatch() {
    RETORT_CHECK(eventfd_write(stop_fd_.get(), 1) == 0);
    thread_.join();
  }

 private:
  void Run(const std::function<void()>& act) {
    pollfd fds[] = {{signal_fd_.get(), POLLIN, 0}, {stop_fd_.get(), POLLIN, 0}};
    while (poll(fds, 2, -1) < 0) RETORT_CHECK(errno == EINTR);
    if (fds[1].revents == 0) act();
  }

  const UniqueFd signal_fd_;
  const UniqueFd stop_fd_;
  std::thread thread_;
};

}  // namespace

class DriverSession::Impl {
 public:
  explicit Impl(const DriverSessionOptions& options)
      : options_(options), channels_(options.token, options.tls) {}

  ~Impl() { Finish(); }

  absl::Status Connect() {
    RETORT_ASSIGN_OR_RETURN(options_.host_identity, HostIdentity(options_));
    RETORT_ASSIGN_OR_RETURN(const std::string listen, ListenAddress(options_));
    artifact_service_ = rpc::MakeArtifactService(
        options_.token, [this](const std::string& id) { return Lookup(id); });
    RETORT_ASSIGN_OR_RETURN(server_, rpc::Server::Start({.listen = listen,
                                                         .tls = options_.tls,
                                                         .services = {artifact_service_.get()}}));
    rpc::AttachClientOptions attach;
    RETORT_ASSIGN_OR_RETURN(attach.channel,
                            rpc::MakeChannel(options_.driver_address, options_.tls));
    attach.hello = MakeHello(options_, server_->address());
    attach.welcome_deadline = options_.welcome_deadline;
    attach.on_arrival = [this](const v1::DriverMessage* message) { OnArrival(message); };
    client_ = rpc::AttachClient::Dial(options_.token, std::move(attach));
    termination_ = std::make_unique<TerminationWatch>([this] {
      LogInfo("asked to stop cause=SIGTERM");
      terminated_ = true;
      client_->StopWaiting();
      Stop();
    });
    RETORT_RETURN_IF_ERROR(Refusal(client_->AwaitWelcome()));
    v1::Fence loading;
    loading.set_epoch(client_->welcome().epoch());
    BeginWork(loading);
    return absl::OkStatus();
  }

  absl::Status Ready() {
    busy_watch_.End();
    v1::WorkerMessage message;
    message.mutable_worker_ready();
    return client_->Send(message);
  }

  absl::StatusOr<std::optional<v1::DriverMessage>> NextCommand() {
    busy_watch_.End();
    while (!terminated_) {
      absl::StatusOr<v1::DriverMessage> message = client_->Pop(absl::Hours(1));
      if (absl::IsDeadlineExceeded(message.status())) continue;
      if (terminated_) break;
      RETORT_RETURN_IF_ERROR(message.status());
      if (message->has_release_artifacts()) continue;
      if (message->has_shutdown()) {
        LogInfo("asked to stop cause={}", message->shutdown().reason());
        break;
      }
      BeginWork(FenceOf(*message));
      return std::optional<v1::DriverMessage>(*std::move(message));
    }
    return std::optional<v1::DriverMessage>();
  }

  void SetArrivalHook(std::function<void(const v1::DriverMessage*)> hook) {
    MutexLock lock(&hook_mutex_);
    hook_ = std::move(hook);
    if (hook_ && stopping_) hook_(nullptr);
  }

  void ReportProgress(const v1::Fence& fence, int64_t units_done) {
    {
      MutexLock lock(&progress_mutex_);
      const absl::Duration now = options_.clock->Now();
      if (now < next_progress_) return;
      next_progress_ = now + kProgressInterval;
    }
    SendProgress(fence, units_done, absl::ZeroDuration());
  }

  absl::StatusOr<v1::ArtifactRef> Hold(int64_t step, const std::string& id, std::string bytes) {
    RETORT_ASSIGN_OR_RETURN(const artifact::StoredArtifact stored,
                            artifacts_.Put(step, id, std::move(bytes)));
    v1::ArtifactRef ref;
    ref.set_artifact_id(id);
    ref.set_address(server_->address());
    ref.set_digest(stored.digest.ToHex());
    ref.set_bytes(stored.bytes);
    return ref;
  }

  absl::StatusOr<std::string> Fetch(const v1::ArtifactRef& ref, absl::Duration deadline) {
    if (ref.address() != server_->address()) return rpc::FetchArtifact(ref, channels_, deadline);
    RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<const std::string> bytes,
                            artifacts_.Get(ref.artifact_id()));
    if (DigestOf(*bytes).ToHex() == ref.digest()) return *bytes;
    return absl::DataLossError(absl::StrCat("artifact ", ref.artifact_id(),
                                            " held here has another digest than ", ref.digest()));
  }

  absl::Status Stream(const std::string& address, const std::string& id, absl::Duration deadline,
                      const rpc::ArtifactSink& sink) {
    return rpc::StreamArtifact(address, id, channels_, deadline, sink);
  }

  void ServeAlso(const std::string& prefix, rpc::ArtifactLookup lookup) {
    MutexLock lock(&lookup_mutex_);
    lookup_prefix_ = prefix;
    lookup_ = std::move(lookup);
  }

  void Finish() {
    if (std::exchange(finished_, true)) return;
    termination_.reset();
    busy_watch_.End();
    if (client_ != nullptr) {
      const absl::Status goodbye = client_->Finish(kGoodbyeDeadline);
      if (!goodbye.ok()) LogInfo("driver stream ended: {}", std::string(goodbye.message()));
    }
    if (server_ != nullptr) server_->Shutdown(kServerGrace);
  }

  const v1::Welcome& welcome() const { return client_->welcome(); }
  const std::string& host_identity() const { return options_.host_identity; }
  bool stopping() const { return stopping_; }
  absl::Status Send(const v1::WorkerMessage& message) { return client_->Send(message); }

 private:
  void BeginWork(const v1::Fence& fence) {
    busy_watch_.Begin([this, fence](absl::Duration busy) { SendProgress(fence, 0, busy); });
  }

  void SendProgress(const v1::Fence& fence, int64_t units_done, absl::Duration busy) {
    v1::WorkerMessage message;
    *message.mutable_progress()->mutable_fence() = fence;
    message.mutable_progress()->set_units_done(units_done);
    message.mutable_progress()->set_busy_ms(absl::ToInt64Milliseconds(busy));
    // A progress report that cannot go out is not needed: NextCommand says that the stream is lost.
    const absl::Status sent = client_->Send(message);
    if (!sent.ok()) LogDebug("progress not sent: {}", std::string(sent.message()));
  }

  absl::StatusOr<rpc::ServedArtifact> Lookup(const std::string& id) {
    rpc::ArtifactLookup lookup;
    {
      MutexLock lock(&lookup_mutex_);
      if (lookup_ != nullptr && absl::StartsWith(id, lookup_prefix_)) lookup = lookup_;
    }
    if (lookup != nullptr) return lookup(id);
    return artifacts_.Get(id);
  }

  void OnArrival(const v1::DriverMessage* message) {
    if (message == nullptr) {
      Stop();
      return;
    }
    if (message->has_release_artifacts()) {
      artifacts_.Release(message->release_artifacts().up_to_step());
      return;
    }
    if (message->has_shutdown()) {
      Stop();
      return;
    }
    MutexLock lock(&hook_mutex_);
    if (hook_) hook_(message);
  }

  void Stop() {
    MutexLock lock(&hook_mutex_);
    if (stopping_.exchange(true)) return;
    if (hook_) hook_(nullptr);
  }

  DriverSessionOptions options_;  // Unchanged after Connect.
  artifact::ArtifactStore artifacts_;
  rpc::ChannelCache channels_;
  Mutex lookup_mutex_;
  std::string lookup_prefix_ ABSL_GUARDED_BY(lookup_mutex_);
  rpc::ArtifactLookup lookup_ ABSL_GUARDED_BY(lookup_mutex_);
  std::unique_ptr<rpc::Service> artifact_service_;
  std::unique_ptr<rpc::Server> server_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> terminated_{false};
  bool finished_ = false;
  Mutex hook_mutex_;  // Held while the hook runs.
  std::function<void(const v1::DriverMessage*)> hook_ ABSL_GUARDED_BY(hook_mutex_);
  Mutex progress_mutex_;
  absl::Duration next_progress_ ABSL_GUARDED_BY(progress_mutex_);
  BusyWatch busy_watch_{kProgressInterval};  // Of what goes on until Ready, or NextCommand.
  // Their threads use everything above.
  std::unique_ptr<rpc::AttachClient> client_;
  std::unique_ptr<TerminationWatch> termination_;
};

DriverSession::DriverSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

DriverSession::~DriverSession() = default;

absl::StatusOr<std::unique_ptr<DriverSession>> DriverSession::Connect(
    const DriverSessionOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  RETORT_RETURN_IF_ERROR(impl->Connect());
  return std::unique_ptr<DriverSession>(new DriverSession(std::move(impl)));
}

const v1::Welcome& DriverSession::welcome() const { return impl_->welcome(); }

const std::string& DriverSession::host_identity() const { return impl_->host_identity(); }

absl::Status DriverSession::Ready() { return impl_->Ready(); }

absl::StatusOr<std::optional<v1::DriverMessage>> DriverSession::NextCommand() {
  return impl_->NextCommand();
}

bool DriverSession::stopping() const { return impl_->stopping(); }

void DriverSession::SetArrivalHook(std::function<void(const v1::DriverMessage*)> hook) {
  impl_->SetArrivalHook(std::move(hook));
}

absl::Status DriverSession::Send(const v1::WorkerMessage& message) { return impl_->Send(message); }

void DriverSession::ReportProgress(const v1::Fence& fence, int64_t units_done) {
  impl_->ReportProgress(fence, units_done);
}

absl::Status DriverSession::ReportFailure(const v1::Fence& fence, const absl::Status& failure) {
  v1::WorkerMessage message;
  v1::WorkFailed* const failed = message.mutable_work_failed();
  *failed->mutable_fence() = fence;
  failed->set_code(static_cast<int>(failure.code()));
  failed->set_message(ReportText(failure.message(), kMaxFailureBytes));
  return impl_->Send(message);
}

absl::StatusOr<v1::ArtifactRef> DriverSession::Hold(int64_t step, const std::string& id,
                                                    std::string bytes) {
  return impl_->Hold(step, id, std::move(bytes));
}

absl::StatusOr<std::string> DriverSession::Fetch(const v1::ArtifactRef& ref,
                                                 absl::Duration deadline) {
  return impl_->Fetch(ref, deadline);
}

absl::Status DriverSession::Stream(const std::string& address, const std::string& id,
                                   absl::Duration deadline, const rpc::ArtifactSink& sink) {
  return impl_->Stream(address, id, deadline, sink);
}

void DriverSession::ServeAlso(const std::string& prefix, rpc::ArtifactLookup lookup) {
  impl_->ServeAlso(prefix, std::move(lookup));
}

int DriverSession::Finish(const absl::Status& result) {
  impl_->Finish();
  return ExitCodeFor(result);
}

}  // namespace retort::worker
