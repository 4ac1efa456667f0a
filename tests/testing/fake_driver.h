// A driver's end of the wire for tests of workers: a real AttachService on a free loopback port,
// whose events the test takes one by one, with a limit on every wait.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "common/rpc/attach_service.h"
#include "common/rpc/event_queue.h"
#include "common/rpc/server.h"
#include "gtest/gtest.h"

namespace retort::testing {

class FakeDriver {
 public:
  explicit FakeDriver(const rpc::AttachServiceOptions& options = {},
                      const rpc::AccessToken& token = rpc::AccessToken::Generate())
      : token_(token),
        service_(rpc::AttachService::Make(
            token_, [this](rpc::AttachEvent event) { events_.Push(std::move(event)); }, options)) {
    auto server = rpc::Server::Start({.services = {service_.get()}});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  const rpc::AccessToken& token() const { return token_; }
  std::string address() const { return server_->address(); }
  rpc::AttachService& service() { return *service_; }
  void Stop(absl::Duration grace = absl::Seconds(2)) { server_->Shutdown(grace); }

  // The next event, which must be of type T; events are kept in order. Fails the test after 30 s.
  template <typename T>
  T Next() {
    std::optional<rpc::AttachEvent> event = events_.Pop(absl::Seconds(30));
    if (!event) {
      ADD_FAILURE() << "no event from a worker within 30 s";
      return T{};
    }
    if (T* wanted = std::get_if<T>(&*event)) return std::move(*wanted);
    ADD_FAILURE() << "event " << event->index() << " came instead (0 opened, 1 message, 2 closed)";
    return T{};
  }
  bool NothingWithin(absl::Duration duration) { return !events_.Pop(duration).has_value(); }

  // Takes the next connection and welcomes it.
  rpc::ConnectionOpened Welcome(const v1::Welcome& welcome = {}) {
    rpc::ConnectionOpened opened = Next<rpc::ConnectionOpened>();
    v1::DriverMessage message;
    *message.mutable_welcome() = welcome;
    Send(opened.connection, message);
    return opened;
  }
  void Send(rpc::ConnectionId connection, const v1::DriverMessage& message) {
    const absl::Status sent = service_->Send(connection, message);
    EXPECT_TRUE(sent.ok()) << sent;
  }

 private:
  const rpc::AccessToken token_;
  rpc::EventQueue<rpc::AttachEvent> events_;
  std::unique_ptr<rpc::AttachService> service_;
  std::unique_ptr<rpc::Server> server_;
};

}  // namespace retort::testing
