#include "common/rpc/attach_connection.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/transport.h"

namespace retort::rpc::internal {
namespace {

constexpr size_t kMaxTextBytes = 256;

absl::Status BadHello(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("Hello: ", what));
}

absl::Status CheckHello(const v1::Hello& hello) {
  if (hello.incarnation().size() != 32 ||
      hello.incarnation().find_first_not_of("0123456789abcdef") != std::string::npos) {
    return BadHello("incarnation is not 32 lower-case hex digits");
  }
  if (!v1::Role_IsValid(hello.role())) return BadHello("unknown role");
  if (hello.index() < 0) return BadHello("index is negative");
  if (hello.role() == v1::ROLE_UNSPECIFIED && !hello.has_mpi_rank()) {
    return BadHello("a worker without a role needs mpi_rank");
  }
  if (hello.has_mpi_rank() != hello.has_mpi_world_size() || hello.mpi_rank() < 0 ||
      (hello.has_mpi_rank() && hello.mpi_rank() >= hello.mpi_world_size())) {
    return BadHello("mpi_rank is not below mpi_world_size");
  }
  if (hello.host().size() > kMaxTextBytes || hello.artifact_address().size() > kMaxTextBytes ||
      hello.build().size() > kMaxTextBytes) {
    return BadHello("host, artifact_address or build is longer than 256 bytes");
  }
  return absl::OkStatus();
}

// Calls `action` on the connection if it is still open when `after` has passed.
void Arm(grpc::Alarm* alarm, absl::Duration after,
         const std::shared_ptr<ConnectionRegistry>& registry, ConnectionId id,
         void (*action)(Connection*)) {
  alarm->Set(DeadlineAfter(after), [registry, id, action](bool expired) {
    if (!expired) return;
    MutexLock lock(&registry->mutex);
    const auto found = registry->open.find(id);
    if (found != registry->open.end()) action(found->second);
  });
}

}  // namespace

void Connection::Start() {
  Arm(&hello_alarm_, shared_.options.hello_deadline, shared_.registry, id_,
      [](Connection* connection) {
        MutexLock lock(&connection->mutex_);
        if (connection->phase_ != Phase::kSilent) return;
        connection->BeginClose(absl::DeadlineExceededError("no Hello came in time"));
      });
  MutexLock lock(&mutex_);
  StartRead(&incoming_);
}

absl::Status Connection::Send(const v1::DriverMessage& message) {
  const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
  if (bytes > kMaxCommandBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("a command of ", bytes, " bytes; at most ",
                                                     kMaxCommandBytes, " go to a worker"));
  }
  MutexLock lock(&mutex_);
  if (phase_ != Phase::kOpen) {
    return absl::FailedPreconditionError(absl::StrCat("connection ", id_, " is closing"));
  }
  if (buffered_bytes_ + bytes > shared_.options.max_buffered_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "connection ", id_, ": the worker does not read; ", buffered_bytes_, " bytes wait for it"));
  }
  buffered_bytes_ += bytes;
  unsent_.push_back({message, bytes});
  Advance();
  return absl::OkStatus();
}

void Connection::Close(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (phase_ == Phase::kClosing || phase_ == Phase::kFinished) return;
  BeginClose(status);
}

void Connection::BeginClose(const absl::Status& status) {
  phase_ = Phase::kClosing;
  close_status_ = status;
  if (!status.ok()) {
    unsent_.resize(writing_ ? 1 : 0);
  }
  Advance();
  if (phase_ == Phase::kFinished) return;
  Arm(&close_alarm_, shared_.options.close_grace, shared_.registry, id_,
      [](Connection* connection) { connection->Abandon(); });
}

void Connection::Advance() {
  if (writing_ || phase_ == Phase::kFinished) return;
  if (!unsent_.empty()) {
    writing_ = true;
    StartWrite(&unsent_.front().message);
  } else if (phase_ == Phase::kClosing) {
    phase_ = Phase::kFinished;
    Finish(ToGrpc(close_status_));
  }
}

void Connection::OnReadDone(bool ok) {
  mutex_.Lock();
  if (!ok) {  // The worker said goodbye, or the call is over.
    if (phase_ == Phase::kSilent) {
      BeginClose(absl::InvalidArgumentError("the stream ended before Hello"));
    } else if (phase_ == Phase::kOpen) {
      BeginClose(absl::OkStatus());
    }
    mutex_.Unlock();
    return;
  }
  if (phase_ == Phase::kClosing || phase_ == Phase::kFinished) {  // A fenced worker's: dropped.
    mutex_.Unlock();
    return;
  }
  v1::WorkerMessage message = std::move(incoming_);
  incoming_.Clear();
  mutex_.Unlock();
  const absl::Status accepted = Accept(std::move(message));
  MutexLock lock(&mutex_);
  if (!accepted.ok() && phase_ != Phase::kClosing && phase_ != Phase::kFinished)
    BeginClose(accepted);
  if (phase_ == Phase::kOpen) StartRead(&incoming_);
}

absl::Status Connection::Accept(v1::WorkerMessage message) {
  const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
  bool first;
  {
    MutexLock lock(&mutex_);
    first = !announced_;
    if (first && message.has_hello() && phase_ == Phase::kSilent) {
      RETORT_RETURN_IF_ERROR(CheckHello(message.hello()));
      announced_ = true;
      phase_ = Phase::kOpen;
    }
  }
  if (first && !message.has_hello()) {
    return absl::InvalidArgumentError("the first message is no Hello");
  }
  if (!first && (message.has_hello() || message.kind_case() == v1::WorkerMessage::KIND_NOT_SET)) {
    return absl::InvalidArgumentError("a second Hello, or a message of a kind this build lacks");
  }
  if (first) {
    hello_alarm_.Cancel();
    shared_.sink(
        ConnectionOpened{id_, std::move(*message.mutable_hello()), context_->peer(), bytes});
  } else {
    shared_.sink(MessageReceived{id_, std::move(message), bytes});
  }
  return absl::OkStatus();
}

void Connection::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  buffered_bytes_ -= unsent_.front().bytes;
  unsent_.pop_front();
  if (!ok) {
    lost_ = true;
    unsent_.clear();
    if (phase_ != Phase::kClosing) BeginClose(absl::UnavailableError("the worker is gone"));
  }
  Advance();
}

void Connection::OnCancel() {
  MutexLock lock(&mutex_);
  lost_ = true;
  unsent_.resize(writing_ ? 1 : 0);
  if (phase_ != Phase::kClosing && phase_ != Phase::kFinished) {
    BeginClose(absl::UnavailableError("the worker is gone"));
  }
  Advance();
}

void Connection::OnDone() {
  ConnectionClosed closed{id_, absl::OkStatus()};
  bool announced;
  {
    MutexLock lock(&mutex_);
    announced = announced_;
    closed.status = close_status_;
    // A stream that broke reads as ended, too: only the cancellation tells it from a goodbye.
    if (lost_ && closed.status.ok()) closed.status = absl::UnavailableError("the worker is gone");
  }
  if (announced) shared_.sink(std::move(closed));
  const std::shared_ptr<ConnectionRegistry> registry = shared_.registry;
  {
    MutexLock lock(&registry->mutex);
    registry->open.erase(id_);
  }
  // Nobody can reach it any more.
  delete this;
  MutexLock lock(&registry->mutex);
  registry->changed.NotifyAll();
}

}  // namespace retort::rpc::internal
