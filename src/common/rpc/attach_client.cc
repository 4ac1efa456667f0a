#include "common/rpc/attach_client.h"

#include <sys/eventfd.h>

#include <deque>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/completion.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/server.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "retort/v1/control.grpc.pb.h"

namespace retort::rpc {

// At most one read and one write are in flight; Finish begins once reading has ended and no write
// is in flight. Completions run on the stream's own thread, operations begin under mutex_.
class AttachClient::Stream {
 public:
  Stream(const std::shared_ptr<grpc::Channel>& channel, const AccessToken& token,
         AttachClientOptions options)
      : stub_(v1::DriverService::NewStub(channel)), options_(std::move(options)) {
    options_.channel.reset();
    PrepareCall(token, absl::InfiniteDuration(), &context_);
    context_.set_wait_for_ready(true);
    stream_ = stub_->PrepareAsyncAttach(&context_, &queue_);
    v1::WorkerMessage message;
    *message.mutable_hello() = options_.hello;
    MutexLock lock(&mutex_);
    Enqueue(std::move(message));
    stream_->StartCall(&started_);
    thread_ = std::thread([this] { RunCompletions(&queue_); });
  }

  ~Stream() {
    context_.TryCancel();
    thread_.join();  // Finished shuts the queue down.
  }

  absl::StatusOr<v1::DriverMessage> Pop(absl::Duration timeout) {
    const absl::Duration deadline = Clock::Real()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (received_.empty()) {
      if (done_) return EndError();
      if (stop_waiting_) return absl::CancelledError("this worker is stopping");
      const absl::Duration left = deadline - Clock::Real()->Now();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(
            absl::StrCat("no message from the driver within ", absl::FormatDuration(timeout)));
      }
      changed_.WaitWithTimeout(&mutex_, left);
    }
    v1::DriverMessage message = std::move(received_.front());
    received_.pop_front();
    return message;
  }

  absl::Status Send(const v1::WorkerMessage& message) {
    const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
    if (bytes > kMaxControlMessageBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("a message of ", bytes, " bytes; at most ",
                                                       kMaxControlMessageBytes,
                                                       " go to the driver"));
    }
    MutexLock lock(&mutex_);
    if (done_) return EndError();
    if (finishing_) return absl::FailedPreconditionError("the worker has said goodbye already");
    if (buffered_bytes_ + bytes > options_.max_buffered_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the driver does not read: ", buffered_bytes_, " bytes wait for it"));
    }
    if (!reading_) return absl::OkStatus();  // The stream's error is on its way to Pop.
    Enqueue(message);
    return absl::OkStatus();
  }

  void StopWaiting() {
    MutexLock lock(&mutex_);
    stop_waiting_ = true;
    changed_.NotifyAll();
  }

  absl::Status Finish(absl::Duration grace) {
    {
      MutexLock lock(&mutex_);
      finishing_ = true;
      Advance();
      if (WaitUntilDone(grace)) return FromGrpc(status_);
    }
    context_.TryCancel();
    MutexLock lock(&mutex_);
    while (!done_) changed_.Wait(&mutex_);
    return absl::DeadlineExceededError("the driver did not answer the worker's goodbye");
  }

  void Cancel() { context_.TryCancel(); }

  bool ended() const {
    MutexLock lock(&mutex_);
    return done_;
  }

 private:
  void Started(bool ok) {
    MutexLock lock(&mutex_);
    if (!ok) {
      reading_ = false;
    } else {
      started_ok_ = true;
      stream_->Read(&incoming_, &read_);
    }
    Advance();
  }

  void Read(bool ok) {
    v1::DriverMessage message;
    bool announce = false;
    {
      MutexLock lock(&mutex_);
      if (!ok) {
        reading_ = false;
        Advance();
        return;
      }
      message.Swap(&incoming_);
      announce = std::exchange(welcomed_, true);
    }
    if (announce && options_.on_arrival) options_.on_arrival(&message);
    MutexLock lock(&mutex_);
    received_.push_back(std::move(message));
    Notify();
    stream_->Read(&incoming_, &read_);
  }

  void Written(bool ok) {
    MutexLock lock(&mutex_);
    writing_ = false;
    buffered_bytes_ -= static_cast<int64_t>(unsent_.front().ByteSizeLong());
    unsent_.pop_front();
    if (!ok) {  // The stream is broken; Read(false) comes, too.
      unsent_.clear();
      buffered_bytes_ = 0;
    }
    Advance();
  }

  void SaidGoodbye(bool) {
    MutexLock lock(&mutex_);
    writing_ = false;
    Advance();
  }

  void Finished(bool) {
    if (options_.on_arrival) options_.on_arrival(nullptr);
    MutexLock lock(&mutex_);
    done_ = true;
    Notify();
    queue_.Shutdown();
  }

  void Enqueue(v1::WorkerMessage message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    buffered_bytes_ += static_cast<int64_t>(message.ByteSizeLong());
    unsent_.push_back(std::move(message));
    Advance();
  }

  void Notify() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    changed_.NotifyAll();
    // Fails only when 2^64 - 2 notifications are unread: the descriptor is readable then, too.
    if (options_.notify_fd >= 0) (void)!eventfd_write(options_.notify_fd, 1);
  }

  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_) return;
    if (!reading_) {
      if (!std::exchange(finish_begun_, true)) stream_->Finish(&status_, &finished_);
    } else if (!started_ok_) {
      return;
    } else if (!unsent_.empty()) {
      writing_ = true;
      stream_->Write(unsent_.front(), &written_);
    } else if (finishing_ && !std::exchange(goodbye_begun_, true)) {
      writing_ = true;
      stream_->WritesDone(&said_goodbye_);
    }
  }

  bool WaitUntilDone(absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::Duration deadline = Clock::Real()->Now() + timeout;
    while (!done_) {
      const absl::Duration left = deadline - Clock::Real()->Now();
      if (left <= absl::ZeroDuration()) return false;
      changed_.WaitWithTimeout(&mutex_, left);
    }
    return true;
  }

  absl::Status EndError() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (status_.ok()) return absl::UnavailableError("the driver ended the stream");
    return WithContext(FromGrpc(status_), "driver");
  }

  const std::unique_ptr<v1::DriverService::Stub> stub_;
  AttachClientOptions options_;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::WorkerMessage, v1::DriverMessage>> stream_;
  CompletionOf<Stream> started_{this, &Stream::Started};
  CompletionOf<Stream> read_{this, &Stream::Read};
  CompletionOf<Stream> written_{this, &Stream::Written};
  CompletionOf<Stream> said_goodbye_{this, &Stream::SaidGoodbye};
  CompletionOf<Stream> finished_{this, &Stream::Finished};
  std::thread thread_;

  mutable Mutex mutex_;
  CondVar changed_;
  v1::DriverMessage incoming_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::DriverMessage> received_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::WorkerMessage> unsent_ ABSL_GUARDED_BY(mutex_);  // The front is in flight.
  int64_t buffered_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool started_ok_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(mutex_) = true;  // Until nothing can be received any more.
  bool welcomed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  bool goodbye_begun_ ABSL_GUARDED_BY(mutex_) = false;
  bool finish_begun_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_waiting_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

AttachClient::AttachClient() = default;

AttachClient::~AttachClient() = default;

std::unique_ptr<AttachClient> AttachClient::Dial(const AccessToken& token,
                                                 AttachClientOptions options) {
  RETORT_CHECK(options.channel != nullptr);
  auto client = std::unique_ptr<AttachClient>(new AttachClient());
  client->channel_ = options.channel;
  client->welcome_deadline_ = options.welcome_deadline;
  client->stream_ = std::make_unique<Stream>(client->channel_, token, std::move(options));
  return client;
}

absl::Status AttachClient::AwaitWelcome() {
  absl::StatusOr<v1::DriverMessage> first = stream_->Pop(welcome_deadline_);
  if (absl::IsDeadlineExceeded(first.status())) {
    return absl::DeadlineExceededError(absl::StrCat("no driver answered within ",
                                                    absl::FormatDuration(welcome_deadline_),
                                                    "; is it running, and is the address right?"));
  }
  RETORT_RETURN_IF_ERROR(first.status());
  if (!first->has_welcome()) {
    return absl::InternalError("the driver's first message is no Welcome; is it another build?");
  }
  welcome_ = std::move(*first->mutable_welcome());
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<AttachClient>> AttachClient::Connect(const AccessToken& token,
                                                                    AttachClientOptions options) {
  std::unique_ptr<AttachClient> client = Dial(token, std::move(options));
  RETORT_RETURN_IF_ERROR(client->AwaitWelcome());
  return client;
}

const v1::Welcome& AttachClient::welcome() const { return welcome_; }

absl::StatusOr<v1::DriverMessage> AttachClient::Pop(absl::Duration timeout) {
  return stream_->Pop(timeout);
}

void AttachClient::StopWaiting() { stream_->StopWaiting(); }

absl::Status AttachClient::Send(const v1::WorkerMessage& message) { return stream_->Send(message); }

absl::Status AttachClient::Finish(absl::Duration deadline) { return stream_->Finish(deadline); }

void AttachClient::Cancel() { stream_->Cancel(); }

bool AttachClient::ended() const { return stream_->ended(); }

}  // namespace retort::rpc
