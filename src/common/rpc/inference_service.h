// The server's end of InferenceService. Handlers authenticate and hand over: every call is an event
// for one sink, and who serves it answers by the call's id.
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
#include "retort/v1/inference.pb.h"

namespace retort::rpc {

using InferenceCallId = uint64_t;  // From 1, never reused within a service.

struct GenerateCalled {
  InferenceCallId call;
  v1::GenerateRequest request;
  std::string peer;  // gRPC's text for the remote address.
};
struct ScoreCalled {
  InferenceCallId call;
  v1::ScoreRequest request;
  std::string peer;
};
// Exactly once for every call, and its last event: it was finished, cancelled by the client, its
// deadline has passed, or its connection is gone. What is still computed for it is of no use.
struct CallEnded {
  InferenceCallId call;
};
using InferenceEvent = std::variant<GenerateCalled, ScoreCalled, CallEnded>;

struct InferenceServiceOptions {
  int max_calls = 1024;  // Open at once; more are refused with RESOURCE_EXHAUSTED.
  // Of memory per call, sent but not yet taken by the network.
  int64_t max_buffered_bytes = 8 << 20;
};

// Thread-safe.
class InferenceService : public Service {
 public:
  // `sink` is called on the server's thread, events of one call in order; it must be thread-safe,
  // quick, and may answer at once. A call whose first event it refuses ends with that error and is
  // no longer spoken of; what it says of a CallEnded is passed over. It is not called after the
  // server was shut down.
  static std::unique_ptr<InferenceService> Make(const AccessToken& token,
                                                std::function<absl::Status(InferenceEvent)> sink,
                                                const InferenceServiceOptions& options = {});

  // Queues an event of a Generate call and returns. NOT_FOUND the call is over;
  // FAILED_PRECONDITION it is a Score call; RESOURCE_EXHAUSTED its reader does not read, and the
  // call is ended with that error.
  virtual absl::Status Send(InferenceCallId call, const v1::GenerateEvent& event) = 0;

  // OK: a Generate call ends after what was sent. An error: what is queued is dropped, the client
  // sees the error. Nothing happens if the call is over.
  virtual void Finish(InferenceCallId call, const absl::Status& status) = 0;

  // Answers and ends a Score call. NOT_FOUND the call is over; FAILED_PRECONDITION it is no Score
  // call.
  virtual absl::Status Answer(InferenceCallId call, const v1::ScoreResponse& response) = 0;
};

}  // namespace retort::rpc
