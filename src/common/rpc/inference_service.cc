#include "common/rpc/inference_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/rpc/inference_call.h"

namespace retort::rpc {
namespace {

using internal::GenerateCall;
using internal::InferenceCall;
using internal::ScoreCall;

class InferenceServiceImpl : public InferenceService {
 public:
  InferenceServiceImpl(const AccessToken& token, std::function<absl::Status(InferenceEvent)> sink,
                       const InferenceServiceOptions& options)
      : shared_(token, std::move(sink), options) {}

  grpc::Service* AsGrpc() override { return &shared_.service; }
  void Accept(grpc::ServerCompletionQueue* queue) override {
    shared_.accepting_methods = 2;
    new GenerateCall(&shared_, queue);
    new ScoreCall(&shared_, queue);
  }
  OpenCalls& calls() override { return shared_.calls; }

  absl::Status Send(InferenceCallId id, const v1::GenerateEvent& event) override {
    return With(id, [&](InferenceCall* call) { return call->Send(event); });
  }
  absl::Status Answer(InferenceCallId id, const v1::ScoreResponse& response) override {
    return With(id, [&](InferenceCall* call) { return call->Answer(response); });
  }
  void Finish(InferenceCallId id, const absl::Status& status) override {
    shared_.calls.WithCall(
        id, [&](OpenCall* call) { static_cast<InferenceCall*>(call)->Close(status); });
  }

 private:
  template <typename Act>
  absl::Status With(InferenceCallId id, Act act) {
    absl::Status status = absl::NotFoundError(absl::StrCat("call ", id, " is over"));
    shared_.calls.WithCall(
        id, [&](OpenCall* call) { status = act(static_cast<InferenceCall*>(call)); });
    return status;
  }

  internal::InferenceContext shared_;
};

}  // namespace

std::unique_ptr<InferenceService> InferenceService::Make(
    const AccessToken& token, std::function<absl::Status(InferenceEvent)> sink,
    const InferenceServiceOptions& options) {
  RETORT_CHECK(sink != nullptr);
  return std::make_unique<InferenceServiceImpl>(token, std::move(sink), options);
}

}  // namespace retort::rpc
