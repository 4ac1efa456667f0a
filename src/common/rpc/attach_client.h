// A worker's end of the Attach stream. A thread of its own reads into a queue and writes from a
// bounded buffer; the worker's threads pop and send without ever waiting for the network.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/access_token.h"
#include "grpcpp/channel.h"
#include "retort/v1/control.pb.h"

namespace retort::rpc {

struct AttachClientOptions {
  std::shared_ptr<grpc::Channel> channel;
  v1::Hello hello;
  absl::Duration welcome_deadline = absl::Seconds(30);
  int64_t max_buffered_bytes = 16 << 20;  // Sent but not yet taken by the network.
  // Called on the stream's thread for each message before Pop can return it (not for the Welcome),
  // and with nullptr once when the stream has ended. Must not block and must not destroy the
  // client. May be called before Connect returns.
  std::function<void(const v1::DriverMessage*)> on_arrival;
  // An eventfd of the caller's, written whenever Pop has something new to say, for a thread that
  // polls other descriptors, too. It must stay open as long as the client lives.
  int notify_fd = -1;
};

// Thread-safe. Destroy it from a thread of the worker, never from on_arrival.
class AttachClient {
 public:
  // Dials and sends Hello, without waiting.
  static std::unique_ptr<AttachClient> Dial(const AccessToken& token, AttachClientOptions options);
  // Once, before Pop. Errors: the driver's (UNAUTHENTICATED, ABORTED, INVALID_ARGUMENT,
  // FAILED_PRECONDITION), UNAVAILABLE nobody listens, DEADLINE_EXCEEDED, CANCELLED by StopWaiting,
  // INTERNAL the first message is no Welcome.
  absl::Status AwaitWelcome();
  // Dial and AwaitWelcome.
  static absl::StatusOr<std::unique_ptr<AttachClient>> Connect(const AccessToken& token,
                                                               AttachClientOptions options);
  ~AttachClient();  // Cancels the stream if it is open.

  const v1::Welcome& welcome() const;  // Empty before AwaitWelcome.

  // The oldest message not yet popped. DEADLINE_EXCEEDED none came within `timeout`; when the
  // stream has ended and the queue is empty, the stream's error or, after a clean end, UNAVAILABLE
  // "the driver ended the stream".
  absl::StatusOr<v1::DriverMessage> Pop(absl::Duration timeout);

  // From now on Pop never waits: with an empty queue it returns CANCELLED. Wakes a Pop that waits.
  void StopWaiting();

  // Queues and returns. RESOURCE_EXHAUSTED the buffer is full, or the message is above
  // kMaxControlMessageBytes; FAILED_PRECONDITION after Finish; the stream's error once it has
  // ended.
  absl::Status Send(const v1::WorkerMessage& message);

  // Sends what is buffered, says goodbye and waits for the driver's answer, at most `deadline`,
  // then cancels. OK when the driver closed with OK. Idempotent.
  absl::Status Finish(absl::Duration deadline);

  // Ends the stream at once; Pop and Send return CANCELLED.
  void Cancel();

  // True once nothing can be received any more.
  bool ended() const;

 private:
  class Stream;

  AttachClient();

  absl::Duration welcome_deadline_;
  std::shared_ptr<grpc::Channel> channel_;  // Destroyed after stream_.
  std::unique_ptr<Stream> stream_;
  v1::Welcome welcome_;
};

}  // namespace retort::rpc
