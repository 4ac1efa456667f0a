// A gRPC server on one completion queue with one thread (completion.h says why), which shuts down
// without hanging: every open call is ended first, because gRPC waits for them.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/endpoint.h"
#include "common/rpc/open_calls.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/server.h"

namespace retort::rpc {

inline constexpr int kMaxControlMessageBytes = 4 << 20;  // What a server receives.
inline constexpr int kMaxCommandBytes =
    16 << 20;  // What a client receives (TrainStep names up to 1M rows).

// A gRPC service of ours. Every method authenticates at its head (see authenticate.h).
class Service {
 public:
  virtual ~Service() = default;
  virtual grpc::Service* AsGrpc() = 0;
  // Called once, before the server's thread starts: requests the first call of every method. When
  // the server accepts no more, the service says calls().AcceptingStopped().
  virtual void Accept(grpc::ServerCompletionQueue* queue) = 0;
  virtual OpenCalls& calls() = 0;
};

struct ServerOptions {
  std::string listen = "127.0.0.1:0";
  TlsFiles tls = {};
  std::vector<Service*> services = {};  // At least one; they outlive the server.
};

class Server {
 public:
  // Errors: INVALID_ARGUMENT listen; FAILED_PRECONDITION off loopback without TLS; NOT_FOUND,
  // PERMISSION_DENIED ... a TLS file; UNAVAILABLE the port cannot be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  ~Server();  // Shutdown(1 s).

  int port() const { return endpoint_.port; }
  // HOST:PORT with the port that was bound.
  std::string address() const { return endpoint_.ToString(); }

  // Idempotent; not to be called from a handler. Ends open calls, then the server; returns within
  // about `grace`.
  void Shutdown(absl::Duration grace);

 private:
  Server() = default;

  Endpoint endpoint_;
  std::vector<Service*> services_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;
};

}  // namespace retort::rpc
