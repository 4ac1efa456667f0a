#include "common/rpc/attach_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/rpc/attach_connection.h"
#include "common/rpc/authenticate.h"
#include "common/rpc/grpc_status.h"

namespace retort::rpc {
namespace {

using internal::Connection;
using internal::ConnectionRegistry;
using Reactor = grpc::ServerBidiReactor<v1::WorkerMessage, v1::DriverMessage>;

constexpr absl::Duration kCancelledCallsEndWithin = absl::Seconds(10);

class Refusal : public Reactor {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

class AttachServiceImpl : public AttachService, public v1::DriverService::CallbackService {
 public:
  AttachServiceImpl(const AccessToken& token, std::function<void(AttachEvent)> sink,
                    const AttachServiceOptions& options)
      : verifier_(token),
        shared_{std::make_shared<ConnectionRegistry>(), std::move(sink), options} {}

  grpc::Service* AsGrpc() override { return this; }

  Reactor* Attach(grpc::CallbackServerContext* context) override {
    const absl::Status authentic = Authenticate(*context, verifier_);
    if (!authentic.ok()) return new Refusal(authentic);
    ConnectionRegistry& registry = *shared_.registry;
    MutexLock lock(&registry.mutex);
    if (registry.ending) return new Refusal(absl::UnavailableError("the driver is shutting down"));
    if (static_cast<int>(registry.open.size()) >= shared_.options.max_connections) {
      return new Refusal(absl::ResourceExhaustedError(
          absl::StrCat(shared_.options.max_connections, " workers are attached already")));
    }
    const ConnectionId id = ++registry.last_id;
    auto* const connection = new Connection(shared_, id, context);
    registry.open[id] = connection;
    connection->Start();
    return connection;
  }

  absl::Status Send(ConnectionId id, const v1::DriverMessage& message) override {
    ConnectionRegistry& registry = *shared_.registry;
    MutexLock lock(&registry.mutex);
    const auto found = registry.open.find(id);
    if (found == registry.open.end()) {
      return absl::NotFoundError(absl::StrCat("connection ", id, " is gone"));
    }
    return found->second->Send(message);
  }

  void Close(ConnectionId id, const absl::Status& status) override {
    ConnectionRegistry& registry = *shared_.registry;
    MutexLock lock(&registry.mutex);
    const auto found = registry.open.find(id);
    if (found != registry.open.end()) found->second->Close(status);
  }

  void EndCalls(absl::Duration grace) override {
    ConnectionRegistry& registry = *shared_.registry;
    MutexLock lock(&registry.mutex);
    registry.ending = true;
    for (const auto& [id, connection] : registry.open) {
      connection->Close(absl::UnavailableError("the driver is shutting down"));
    }
    if (WaitUntilEmpty(grace)) return;
    for (const auto& [id, connection] : registry.open) connection->Abandon();
    // gRPC ends a cancelled call without the peer's help.
    RETORT_CHECK(WaitUntilEmpty(kCancelledCallsEndWithin)) << registry.open.size() << " calls";
  }

 private:
  bool WaitUntilEmpty(absl::Duration timeout)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_.registry->mutex) {
    const absl::Duration deadline = Clock::Real()->Now() + timeout;
    while (!shared_.registry->open.empty()) {
      const absl::Duration left = deadline - Clock::Real()->Now();
      if (left <= absl::ZeroDuration()) return false;
      shared_.registry->changed.WaitWithTimeout(&shared_.registry->mutex, left);
    }
    return true;
  }

  const TokenVerifier verifier_;
  const internal::ConnectionContext shared_;
};

}  // namespace

std::unique_ptr<AttachService> AttachService::Make(const AccessToken& token,
                                                   std::function<void(AttachEvent)> sink,
                                                   const AttachServiceOptions& options) {
  RETORT_CHECK(sink != nullptr);
  return std::make_unique<AttachServiceImpl>(token, std::move(sink), options);
}

}  // namespace retort::rpc
