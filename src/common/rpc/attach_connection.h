// One worker's stream at the driver, behind AttachService. Internal to rpc/.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "common/base/mutex.h"
#include "common/rpc/attach_service.h"
#include "common/rpc/completion.h"
#include "common/rpc/open_calls.h"
#include "grpcpp/alarm.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/async_stream.h"
#include "retort/v1/control.grpc.pb.h"

namespace retort::rpc::internal {

// What all connections of a service use; outlives them.
struct AttachContext {
  AttachContext(const AccessToken& token, std::function<void(AttachEvent)> event_sink,
                const AttachServiceOptions& service_options)
      : verifier(token), sink(std::move(event_sink)), options(service_options) {}

  const TokenVerifier verifier;
  const std::function<void(AttachEvent)> sink;
  const AttachServiceOptions options;
  v1::DriverService::AsyncService service;
  OpenCalls calls;
};

// Waits for a caller, then carries its stream, then deletes itself, all on the queue's thread; Send
// and Close come from any thread. At most one read and one write are in flight; Finish happens
// once, with no write in flight.
class Connection : public OpenCall {
 public:
  Connection(AttachContext* shared, grpc::ServerCompletionQueue* queue);

  absl::Status Send(const v1::DriverMessage& message);
  void Close(const absl::Status& status);
  void BeginEnd() override { Close(absl::UnavailableError("the driver is shutting down")); }
  void Abandon() override { context_.TryCancel(); }

 private:
  struct Unsent {
    v1::DriverMessage message;
    int64_t bytes;
  };
  // Only moves forward. kSilent: Hello has not come. kClosing: what is queued goes out. kFinished:
  // the status was sent.
  enum class Phase { kSilent, kOpen, kClosing, kFinished };

  void Accepted(bool ok);
  void Read(bool ok);
  void Written(bool ok);
  void Over(bool ok);  // The call has ended, one way or another.
  void Finished(bool ok);
  void HelloIsLate(bool expired);
  void CloseIsLate(bool expired);

  // Counts an operation that begins; its completion calls Ended last.
  void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { ++in_flight_; }
  // Deletes this when nothing is in flight any more.
  void Ended();

  absl::Status Admit();
  // What a received message means; an error closes the connection.
  absl::Status Take(v1::WorkerMessage message);
  void Lost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginClose(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool closing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return phase_ == Phase::kClosing || phase_ == Phase::kFinished;
  }

  AttachContext* const shared_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<v1::DriverMessage, v1::WorkerMessage> stream_{&context_};
  grpc::Alarm hello_alarm_;
  grpc::Alarm close_alarm_;
  CompletionOf<Connection> accepted_{this, &Connection::Accepted};
  CompletionOf<Connection> read_{this, &Connection::Read};
  CompletionOf<Connection> written_{this, &Connection::Written};
  CompletionOf<Connection> over_{this, &Connection::Over};
  CompletionOf<Connection> finished_{this, &Connection::Finished};
  CompletionOf<Connection> hello_is_late_{this, &Connection::HelloIsLate};
  CompletionOf<Connection> close_is_late_{this, &Connection::CloseIsLate};

  OpenCalls::Id id_ = 0;  // Set once, before anyone else can reach this.
  Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kSilent;
  bool announced_ ABSL_GUARDED_BY(mutex_) = false;  // ConnectionOpened was delivered.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mutex_);
  v1::WorkerMessage incoming_ ABSL_GUARDED_BY(mutex_);
  std::deque<Unsent> unsent_ ABSL_GUARDED_BY(mutex_);  // The front is in flight while writing_.
  int64_t buffered_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace retort::rpc::internal
