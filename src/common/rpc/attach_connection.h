// One worker's stream at the driver: the reactor behind AttachService. Internal to rpc/.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "common/base/mutex.h"
#include "common/rpc/attach_service.h"
#include "grpcpp/alarm.h"
#include "grpcpp/support/server_callback.h"
#include "retort/v1/control.grpc.pb.h"

namespace retort::rpc::internal {

class Connection;

// The open connections. Shared with alarm callbacks, which may run after the service is gone. Lock
// order: a registry's lock, then a connection's. Who holds the registry's lock may use a connection
// that is in it: OnDone removes it before it is deleted.
struct ConnectionRegistry {
  Mutex mutex;
  CondVar changed;
  absl::flat_hash_map<ConnectionId, Connection*> open ABSL_GUARDED_BY(mutex);
  ConnectionId last_id ABSL_GUARDED_BY(mutex) = 0;
  bool ending ABSL_GUARDED_BY(mutex) = false;
};

struct ConnectionContext {
  std::shared_ptr<ConnectionRegistry> registry;
  std::function<void(AttachEvent)> sink;
  AttachServiceOptions options;
};

// One read and at most one write are in flight until Finish, which happens once, with no write in
// flight. Deletes itself in OnDone.
class Connection : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::DriverMessage> {
 public:
  Connection(const ConnectionContext& shared, ConnectionId id, grpc::CallbackServerContext* context)
      : shared_(shared), id_(id), context_(context) {}

  void Start();
  absl::Status Send(const v1::DriverMessage& message);
  void Close(const absl::Status& status);
  // Breaks the stream off, for a peer that does not read.
  void Abandon() { context_->TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  struct Unsent {
    v1::DriverMessage message;
    int64_t bytes;
  };
  enum class Phase { kSilent, kOpen, kClosing, kFinished };  // Only moves forward.

  // What a received message means; an error closes the connection.
  absl::Status Accept(v1::WorkerMessage message);
  void BeginClose(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ConnectionContext shared_;
  const ConnectionId id_;
  grpc::CallbackServerContext* const context_;
  grpc::Alarm hello_alarm_;
  grpc::Alarm close_alarm_;

  Mutex mutex_;
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
