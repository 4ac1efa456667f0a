#include "common/rpc/channel.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/server.h"
#include "common/rpc/transport.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace retort::rpc {
namespace {

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, internal::kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, internal::kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, internal::kMaxMetadataBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // gRPC also gives up a connection attempt after this: a busy peer needs longer for a handshake
  // than a refused one waits for its next attempt.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 3'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Workers are dialled directly: a proxy from the environment has no business here.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMaxCommandBytes);
  return arguments;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const TlsFiles& tls) {
  internal::UseGrpc();
  RETORT_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(address));
  if (endpoint.port == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("address '", address, "': port 0 cannot be dialled"));
  }
  if (tls.ca_file.empty()) {
    if (!endpoint.IsLoopback()) {
      return absl::FailedPreconditionError(
          absl::StrCat("refusing to dial ", endpoint.ToString(),
                       " without TLS: off loopback the token would travel in clear; give the CA "
                       "file that signed the server's certificate"));
    }
    return grpc::CreateCustomChannel(endpoint.ToString(), grpc::InsecureChannelCredentials(),
                                     Arguments());
  }
  RETORT_ASSIGN_OR_RETURN(const internal::TlsContents contents, internal::ReadTlsFiles(tls));
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = contents.ca;
  ssl.pem_private_key = contents.key;
  ssl.pem_cert_chain = contents.certificate;
  return grpc::CreateCustomChannel(endpoint.ToString(), grpc::SslCredentials(ssl), Arguments());
}

void PrepareCall(const AccessToken& token, absl::Duration deadline, grpc::ClientContext* context) {
  context->AddMetadata(kTokenMetadataKey, token.secret());
  if (deadline != absl::InfiniteDuration()) {
    context->set_deadline(internal::DeadlineAfter(deadline));
  }
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelCache::Get(const std::string& address) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(address);
  if (found != entries_.end()) {
    found->second.last_use = ++uses_;
    return found->second.channel;
  }
  RETORT_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, MakeChannel(address, tls_));
  if (entries_.size() >= kMaxChannels) {
    entries_.erase(std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; }));
  }
  entries_[address] = Entry{channel, ++uses_};
  return channel;
}

void ChannelCache::Forget(const std::string& address) {
  MutexLock lock(&mutex_);
  entries_.erase(address);
}

}  // namespace retort::rpc
