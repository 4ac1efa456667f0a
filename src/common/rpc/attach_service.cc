#include "common/rpc/attach_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/rpc/attach_connection.h"

namespace retort::rpc {
namespace {

using internal::Connection;

class AttachServiceImpl : public AttachService {
 public:
  AttachServiceImpl(const AccessToken& token, std::function<void(AttachEvent)> sink,
                    const AttachServiceOptions& options)
      : shared_(token, std::move(sink), options) {}

  grpc::Service* AsGrpc() override { return &shared_.service; }
  void Accept(grpc::ServerCompletionQueue* queue) override { new Connection(&shared_, queue); }
  OpenCalls& calls() override { return shared_.calls; }

  absl::Status Send(ConnectionId id, const v1::DriverMessage& message) override {
    absl::Status status = absl::NotFoundError(absl::StrCat("connection ", id, " is gone"));
    shared_.calls.WithCall(
        id, [&](OpenCall* call) { status = static_cast<Connection*>(call)->Send(message); });
    return status;
  }

  void Close(ConnectionId id, const absl::Status& status) override {
    shared_.calls.WithCall(id,
                           [&](OpenCall* call) { static_cast<Connection*>(call)->Close(status); });
  }

 private:
  internal::AttachContext shared_;
};

}  // namespace

std::unique_ptr<AttachService> AttachService::Make(const AccessToken& token,
                                                   std::function<void(AttachEvent)> sink,
                                                   const AttachServiceOptions& options) {
  RETORT_CHECK(sink != nullptr);
  return std::make_unique<AttachServiceImpl>(token, std::move(sink), options);
}

}  // namespace retort::rpc
