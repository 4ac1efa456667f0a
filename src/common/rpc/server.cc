#include "common/rpc/server.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/rpc/completion.h"
#include "common/rpc/transport.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace retort::rpc {
namespace {

void AddArguments(grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxControlMessageBytes);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, internal::kKeepaliveTimeMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, internal::kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              internal::kServerMinPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, internal::kMaxConcurrentStreams);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, internal::kMaxMetadataBytes);
  // With it two servers could share a port, and a worker would reach either.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(const TlsFiles& tls) {
  if (tls.certificate_file.empty()) return grpc::InsecureServerCredentials();
  RETORT_ASSIGN_OR_RETURN(const internal::TlsContents contents, internal::ReadTlsFiles(tls));
  grpc::SslServerCredentialsOptions ssl(
      contents.ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                          : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = contents.ca;
  ssl.pem_key_cert_pairs.push_back({contents.key, contents.certificate});
  return grpc::SslServerCredentials(ssl);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  RETORT_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(options.listen));
  RETORT_RETURN_IF_ERROR(CheckListen(endpoint, options.tls));
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                          Credentials(options.tls));
  RETORT_CHECK(!options.services.empty());
  internal::UseGrpc();
  grpc::ServerBuilder builder;
  AddArguments(&builder);
  int port = 0;
  builder.AddListeningPort(endpoint.ToString(), credentials, &port);
  for (Service* service : options.services) builder.RegisterService(service->AsGrpc());
  auto server = std::unique_ptr<Server>(new Server());
  server->queue_ = builder.AddCompletionQueue();
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    server->queue_->Shutdown();
    RunCompletions(server->queue_.get());
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", endpoint.ToString(),
                     ": the port is in use, the address is not this host's, or the TLS files do "
                     "not fit together"));
  }
  server->endpoint_ = endpoint;
  server->endpoint_.port = port;
  server->services_ = options.services;
  for (Service* service : options.services) service->Accept(server->queue_.get());
  server->thread_ = std::thread([queue = server->queue_.get()] { RunCompletions(queue); });
  return server;
}

Server::~Server() { Shutdown(absl::Seconds(1)); }

void Server::Shutdown(absl::Duration grace) {
  if (server_ == nullptr) return;
  for (Service* service : services_) service->calls().End(grace);
  server_->Shutdown(internal::DeadlineAfter(grace));
  // No operation may begin on a queue that was shut down, so the last call has to be over.
  for (Service* service : services_) service->calls().AwaitDrained();
  queue_->Shutdown();
  thread_.join();
  server_.reset();
}

}  // namespace retort::rpc
