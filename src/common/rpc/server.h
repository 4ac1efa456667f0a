// A gRPC server whose services can be shut down without hanging: reactors are told to finish first,
// because grpc::Server::Shutdown waits for every one of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/endpoint.h"
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
  // Refuses new calls and returns once every open call has finished, cancelling what is left after
  // `grace`.
  virtual void EndCalls(absl::Duration grace) = 0;
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
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace retort::rpc
