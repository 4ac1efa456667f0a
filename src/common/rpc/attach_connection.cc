#include "common/rpc/attach_connection.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/authenticate.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/transport.h"

namespace retort::rpc::internal {
namespace {

constexpr size_t kMaxTextBytes = 256;
constexpr size_t kMaxIdentityBytes = 128;

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
  if (hello.host_identity().size() > kMaxIdentityBytes) {
    return BadHello("host_identity is longer than 128 bytes");
  }
  return absl::OkStatus();
}

}  // namespace

Connection::Connection(AttachContext* shared, grpc::ServerCompletionQueue* queue)
    : shared_(shared), queue_(queue) {
  context_.AsyncNotifyWhenDone(&over_);  // Comes only if the call is accepted.
  shared_->service.RequestAttach(&context_, &stream_, queue, queue, &accepted_);
}

void Connection::Accepted(bool ok) {
  if (!ok) {  // The server is shutting down.
    shared_->calls.AcceptingStopped();
    delete this;
    return;
  }
  new Connection(shared_, queue_);
  id_ = shared_->calls.Add(this, shared_->options.max_connections);
  const absl::Status admitted = Admit();
  MutexLock lock(&mutex_);
  Begin();  // over_.
  if (!admitted.ok()) {
    if (!closing()) BeginClose(admitted);
    return;
  }
  if (closing()) return;  // The service ends just now.
  Begin();
  hello_alarm_.Set(queue_, DeadlineAfter(shared_->options.hello_deadline), &hello_is_late_);
  Begin();
  stream_.Read(&incoming_, &read_);
}

absl::Status Connection::Admit() {
  RETORT_RETURN_IF_ERROR(Authenticate(context_, shared_->verifier));
  if (id_ != 0) return absl::OkStatus();
  if (shared_->calls.ending()) return absl::UnavailableError("the driver is shutting down");
  return absl::ResourceExhaustedError(
      absl::StrCat(shared_->options.max_connections, " workers are attached already"));
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
  if (buffered_bytes_ + bytes > shared_->options.max_buffered_bytes) {
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
  if (!closing()) BeginClose(status);
}

void Connection::BeginClose(const absl::Status& status) {
  phase_ = Phase::kClosing;
  close_status_ = status;
  if (!status.ok()) unsent_.resize(writing_ ? 1 : 0);
  Begin();
  close_alarm_.Set(queue_, DeadlineAfter(shared_->options.close_grace), &close_is_late_);
  Advance();
}

void Connection::Advance() {
  if (writing_ || phase_ == Phase::kFinished) return;
  if (!unsent_.empty()) {
    writing_ = true;
    Begin();
    stream_.Write(unsent_.front().message, &written_);
  } else if (phase_ == Phase::kClosing) {
    phase_ = Phase::kFinished;
    Begin();
    stream_.Finish(ToGrpc(close_status_), &finished_);
  }
}

void Connection::Read(bool ok) {
  v1::WorkerMessage message;
  bool take = false;
  {
    MutexLock lock(&mutex_);
    if (!ok && !closing()) {  // A goodbye, or the call is over.
      BeginClose(phase_ == Phase::kOpen
                     ? absl::OkStatus()
                     : absl::InvalidArgumentError("the stream ended before Hello"));
    }
    take = ok && !closing();  // Else a fenced worker's: dropped.
    if (take) message.Swap(&incoming_);
  }
  if (take) {
    const absl::Status taken = Take(std::move(message));
    MutexLock lock(&mutex_);
    if (!taken.ok() && !closing()) BeginClose(taken);
    if (!closing()) {
      Begin();
      stream_.Read(&incoming_, &read_);
    }
  }
  Ended();
}

absl::Status Connection::Take(v1::WorkerMessage message) {
  const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
  bool first;
  {
    MutexLock lock(&mutex_);
    first = !announced_;
    if (first) {
      if (!message.has_hello()) {
        return absl::InvalidArgumentError("the first message is no Hello");
      }
      RETORT_RETURN_IF_ERROR(CheckHello(message.hello()));
      announced_ = true;
      if (phase_ == Phase::kSilent) phase_ = Phase::kOpen;
      hello_alarm_.Cancel();
    }
  }
  if (first) {
    shared_->sink(
        ConnectionOpened{id_, std::move(*message.mutable_hello()), context_.peer(), bytes});
    return absl::OkStatus();
  }
  if (message.has_hello() || message.kind_case() == v1::WorkerMessage::KIND_NOT_SET) {
    return absl::InvalidArgumentError("a second Hello, or a message of a kind this build lacks");
  }
  shared_->sink(MessageReceived{id_, std::move(message), bytes});
  return absl::OkStatus();
}

void Connection::Written(bool ok) {
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    buffered_bytes_ -= unsent_.front().bytes;
    unsent_.pop_front();
    if (!ok) Lost();
    Advance();
  }
  Ended();
}

void Connection::Over(bool) {
  {
    MutexLock lock(&mutex_);
    if (context_.IsCancelled()) {
      Lost();
      Advance();
    }
  }
  Ended();
}

void Connection::Lost() {
  lost_ = true;
  unsent_.resize(writing_ ? 1 : 0);
  if (!closing()) BeginClose(absl::UnavailableError("the worker is gone"));
}

void Connection::Finished(bool) {
  {
    MutexLock lock(&mutex_);
    hello_alarm_.Cancel();
    close_alarm_.Cancel();
  }
  Ended();
}

void Connection::HelloIsLate(bool expired) {
  {
    MutexLock lock(&mutex_);
    if (expired && phase_ == Phase::kSilent) {
      BeginClose(absl::DeadlineExceededError("no Hello came in time"));
    }
  }
  Ended();
}

void Connection::CloseIsLate(bool expired) {
  if (expired) Abandon();
  Ended();
}

void Connection::Ended() {
  ConnectionClosed closed{id_, absl::OkStatus()};
  bool announced;
  {
    MutexLock lock(&mutex_);
    if (--in_flight_ > 0) return;
    announced = announced_;
    closed.status = close_status_;
    // A stream that broke reads as ended, too: only the cancellation tells it from a goodbye.
    if (lost_ && closed.status.ok()) closed.status = absl::UnavailableError("the worker is gone");
  }
  if (announced) shared_->sink(std::move(closed));
  OpenCalls& calls = shared_->calls;
  calls.Forget(id_);
  delete this;
  calls.Remove();
}

}  // namespace retort::rpc::internal
