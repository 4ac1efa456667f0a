#include "common/rpc/inference_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/authenticate.h"
#include "common/rpc/grpc_status.h"

namespace retort::rpc::internal {

InferenceCall::InferenceCall(InferenceContext* shared, grpc::ServerCompletionQueue* queue)
    : shared_(shared), queue_(queue) {
  context_.AsyncNotifyWhenDone(&over_);  // Comes only if the call is accepted.
}

void InferenceCall::Accepted(bool ok) {
  if (!ok) {  // The server is shutting down.
    if (--shared_->accepting_methods == 0) shared_->calls.AcceptingStopped();
    delete this;
    return;
  }
  AcceptNext();
  id_ = shared_->calls.Add(this, shared_->options.max_calls);
  const absl::Status admitted = Admit();
  {
    MutexLock lock(&mutex_);
    Begin();  // over_.
    if (!admitted.ok()) {
      if (!closing_) CloseLocked(admitted);
      return;
    }
    if (closing_) return;  // The service ends just now.
    Begin();               // The announcement below, which must find this alive.
  }
  const absl::Status taken = shared_->sink(Arrival());
  {
    MutexLock lock(&mutex_);
    announced_ = taken.ok();
    if (!taken.ok() && !closing_) CloseLocked(taken);
  }
  Ended(true);
}

absl::Status InferenceCall::Admit() {
  RETORT_RETURN_IF_ERROR(Authenticate(context_, shared_->verifier));
  if (id_ != 0) return absl::OkStatus();
  if (shared_->calls.ending()) return absl::UnavailableError("the server is shutting down");
  return absl::ResourceExhaustedError(
      absl::StrCat(shared_->options.max_calls, " calls are open; try again later"));
}

void InferenceCall::Close(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (!closing_) CloseLocked(status);
}

void InferenceCall::CloseLocked(const absl::Status& status) {
  closing_ = true;
  close_status_ = status;
  if (!status.ok()) DropUnsent();
  Advance();
}

absl::Status InferenceCall::IsOver() const {
  return absl::NotFoundError(absl::StrCat("call ", id_, " is over"));
}

void InferenceCall::Over(bool ok) {
  {
    MutexLock lock(&mutex_);
    if (context_.IsCancelled()) {
      if (!closing_) {
        CloseLocked(absl::CancelledError("the client is gone, or its deadline has passed"));
      } else {
        DropUnsent();
        Advance();
      }
    }
  }
  Ended(ok);
}

void InferenceCall::Ended(bool) {
  bool announced;
  {
    MutexLock lock(&mutex_);
    if (--in_flight_ > 0) return;
    announced = announced_;
  }
  if (announced) shared_->sink(CallEnded{id_}).IgnoreError();
  OpenCalls& calls = shared_->calls;
  calls.Forget(id_);
  delete this;
  calls.Remove();
}

GenerateCall::GenerateCall(InferenceContext* shared, grpc::ServerCompletionQueue* queue)
    : InferenceCall(shared, queue) {
  shared_->service.RequestGenerate(&context_, &request_, &writer_, queue, queue, &accepted_);
}

InferenceEvent GenerateCall::Arrival() {
  return GenerateCalled{id_, std::move(request_), context_.peer()};
}

absl::Status GenerateCall::Send(const v1::GenerateEvent& event) {
  const auto bytes = static_cast<int64_t>(event.SpaceUsedLong());
  MutexLock lock(&mutex_);
  if (closing_) return IsOver();
  if (buffered_bytes_ + bytes > shared_->options.max_buffered_bytes) {
    const absl::Status status = absl::ResourceExhaustedError(absl::StrCat(
        "the client does not read; ", buffered_bytes_, " bytes wait for it, and no more are kept"));
    CloseLocked(status);
    return status;
  }
  buffered_bytes_ += bytes;
  unsent_.push_back({event, bytes});
  Advance();
  return absl::OkStatus();
}

absl::Status GenerateCall::Answer(const v1::ScoreResponse&) {
  return absl::FailedPreconditionError(absl::StrCat("call ", id_, " is a Generate"));
}

void GenerateCall::DropUnsent() { unsent_.resize(writing_ ? 1 : 0); }

void GenerateCall::Advance() {
  if (writing_ || finishing_) return;
  if (!unsent_.empty()) {
    writing_ = true;
    Begin();
    writer_.Write(unsent_.front().event, &written_);
  } else if (closing_) {
    finishing_ = true;
    Begin();
    writer_.Finish(ToGrpc(close_status_), &finished_);
  }
}

void GenerateCall::Written(bool ok) {
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    buffered_bytes_ -= unsent_.front().bytes;
    unsent_.pop_front();
    if (!ok) {
      DropUnsent();
      if (!closing_) CloseLocked(absl::CancelledError("the client is gone"));
    }
    Advance();
  }
  Ended(ok);
}

ScoreCall::ScoreCall(InferenceContext* shared, grpc::ServerCompletionQueue* queue)
    : InferenceCall(shared, queue) {
  shared_->service.RequestScore(&context_, &request_, &writer_, queue, queue, &accepted_);
}

InferenceEvent ScoreCall::Arrival() {
  return ScoreCalled{id_, std::move(request_), context_.peer()};
}

absl::Status ScoreCall::Send(const v1::GenerateEvent&) {
  return absl::FailedPreconditionError(absl::StrCat("call ", id_, " is a Score"));
}

absl::Status ScoreCall::Answer(const v1::ScoreResponse& response) {
  MutexLock lock(&mutex_);
  if (closing_) return IsOver();
  response_ = response;
  CloseLocked(absl::OkStatus());
  return absl::OkStatus();
}

void ScoreCall::Advance() {
  if (!closing_ || finishing_) return;
  finishing_ = true;
  Begin();
  if (close_status_.ok()) {
    writer_.Finish(response_, grpc::Status::OK, &finished_);
  } else {
    writer_.FinishWithError(ToGrpc(close_status_), &finished_);
  }
}

}  // namespace retort::rpc::internal
