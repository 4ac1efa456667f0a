// The driver's end of all Attach streams. Handlers validate and hand over; every event goes to one
// sink, so that the driver's single thread can run the pure schedule.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/access_token.h"
#include "common/rpc/server.h"
#include "retort/v1/control.pb.h"

namespace retort::rpc {

using ConnectionId = uint64_t;  // From 1, never reused within a service.

// A worker said a well-formed Hello. The driver answers with Send(Welcome) or Close(error).
struct ConnectionOpened {
  ConnectionId connection;
  v1::Hello hello;
  std::string peer;  // gRPC's text for the remote address.
  int64_t bytes;     // Of the message, as received.
};
struct MessageReceived {
  ConnectionId connection;
  v1::WorkerMessage message;  // Any kind but Hello; the kind is set.
  int64_t bytes;
};
// Exactly once for every ConnectionOpened, and the last event of it. OK: the worker said goodbye.
// UNAVAILABLE: it is gone. Else what Close was given.
struct ConnectionClosed {
  ConnectionId connection;
  absl::Status status;
};
using AttachEvent = std::variant<ConnectionOpened, MessageReceived, ConnectionClosed>;

struct AttachServiceOptions {
  absl::Duration hello_deadline = absl::Seconds(10);  // A peer that says nothing is closed.
  absl::Duration close_grace = absl::Seconds(2);      // For a peer that does not read, after Close.
  int64_t max_buffered_bytes = 64 << 20;  // Per connection, sent but not yet taken by the network.
  int max_connections = 10000;            // More are refused with RESOURCE_EXHAUSTED.
};

// Thread-safe.
class AttachService : public Service {
 public:
  // `sink` is called on the server's thread, events of one connection in order; it must be
  // thread-safe, quick, and may call Send and Close. It is not called after the server was shut
  // down.
  static std::unique_ptr<AttachService> Make(const AccessToken& token,
                                             std::function<void(AttachEvent)> sink,
                                             const AttachServiceOptions& options = {});

  // Queues and returns. NOT_FOUND no such connection (any more); FAILED_PRECONDITION it is closing;
  // RESOURCE_EXHAUSTED the peer does not read fast enough, or the message is above
  // kMaxCommandBytes.
  virtual absl::Status Send(ConnectionId connection, const v1::DriverMessage& message) = 0;

  // OK: what was sent goes out first. An error: it is dropped, and the worker sees the error.
  // Either way the connection is over after close_grace. Nothing happens if it is gone.
  virtual void Close(ConnectionId connection, const absl::Status& status) = 0;
};

}  // namespace retort::rpc
