// One call of InferenceService, from before its caller comes until its last operation has
// completed. Internal to rpc/.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/rpc/completion.h"
#include "common/rpc/inference_service.h"
#include "common/rpc/open_calls.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/async_stream.h"
#include "grpcpp/support/async_unary_call.h"
#include "retort/v1/inference.grpc.pb.h"

namespace retort::rpc::internal {

// What all calls of a service use; outlives them.
struct InferenceContext {
  InferenceContext(const AccessToken& token, std::function<absl::Status(InferenceEvent)> event_sink,
                   const InferenceServiceOptions& service_options)
      : verifier(token), sink(std::move(event_sink)), options(service_options) {}

  const TokenVerifier verifier;
  const std::function<absl::Status(InferenceEvent)> sink;
  const InferenceServiceOptions options;
  v1::InferenceService::AsyncService service;
  OpenCalls calls;
  int accepting_methods = 0;  // The queue's thread only.
};

// What the two methods share. The last completion of a call deletes it; Send, Answer and Close come
// from any thread, everything else from the queue's.
class InferenceCall : public OpenCall {
 public:
  void BeginEnd() override { Close(absl::UnavailableError("the server is shutting down")); }
  void Abandon() override { context_.TryCancel(); }

  // OK: what was sent goes out first.
  void Close(const absl::Status& status);
  virtual absl::Status Send(const v1::GenerateEvent& event) = 0;
  virtual absl::Status Answer(const v1::ScoreResponse& response) = 0;

 protected:
  InferenceCall(InferenceContext* shared, grpc::ServerCompletionQueue* queue);

  // The method's next call waits for its caller.
  virtual void AcceptNext() = 0;
  // The event that says that the call has come.
  virtual InferenceEvent Arrival() = 0;
  // Starts what can be started now: a write, or Finish once closing and nothing is left.
  virtual void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  virtual void DropUnsent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;

  void Accepted(bool ok);
  void Over(bool ok);  // The call has ended, one way or another.
  void Finished(bool ok) { Ended(ok); }
  // Counts an operation that begins; its completion calls Ended last.
  void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { ++in_flight_; }
  void Ended(bool ok);  // Deletes this when nothing is in flight any more.
  void CloseLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status IsOver() const;

  InferenceContext* const shared_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::ServerContext context_;
  CompletionOf<InferenceCall> accepted_{this, &InferenceCall::Accepted};
  CompletionOf<InferenceCall> over_{this, &InferenceCall::Over};
  CompletionOf<InferenceCall> finished_{this, &InferenceCall::Finished};

  OpenCalls::Id id_ = 0;  // Set once, before anyone else can reach this.
  Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  bool announced_ ABSL_GUARDED_BY(mutex_) = false;  // The sink knows the call.
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mutex_);

 private:
  absl::Status Admit();
};

class GenerateCall : public InferenceCall {
 public:
  GenerateCall(InferenceContext* shared, grpc::ServerCompletionQueue* queue);

  absl::Status Send(const v1::GenerateEvent& event) override;
  absl::Status Answer(const v1::ScoreResponse& response) override;

 private:
  struct Unsent {
    v1::GenerateEvent event;
    int64_t bytes;
  };

  void AcceptNext() override { new GenerateCall(shared_, queue_); }
  InferenceEvent Arrival() override;
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) override;
  void DropUnsent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) override;
  void Written(bool ok);

  v1::GenerateRequest request_;
  grpc::ServerAsyncWriter<v1::GenerateEvent> writer_{&context_};
  CompletionOf<GenerateCall> written_{this, &GenerateCall::Written};
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Unsent> unsent_ ABSL_GUARDED_BY(mutex_);  // The front is in flight while writing_.
  int64_t buffered_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

class ScoreCall : public InferenceCall {
 public:
  ScoreCall(InferenceContext* shared, grpc::ServerCompletionQueue* queue);

  absl::Status Send(const v1::GenerateEvent& event) override;
  absl::Status Answer(const v1::ScoreResponse& response) override;

 private:
  void AcceptNext() override { new ScoreCall(shared_, queue_); }
  InferenceEvent Arrival() override;
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) override;
  void DropUnsent() override {}

  v1::ScoreRequest request_;
  grpc::ServerAsyncResponseWriter<v1::ScoreResponse> writer_{&context_};
  v1::ScoreResponse response_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::rpc::internal
