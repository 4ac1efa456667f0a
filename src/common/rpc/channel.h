// Client channels: keepalive, sizes, no HTTP proxy, TLS off loopback.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/access_token.h"
#include "common/rpc/endpoint.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace retort::rpc {

// Does not connect yet. Errors: INVALID_ARGUMENT address; FAILED_PRECONDITION off loopback without
// `tls.ca_file`; a TLS file that cannot be read.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const TlsFiles& tls);

// Puts the token and the deadline on a call. Every call has a deadline, except the Attach stream.
void PrepareCall(const AccessToken& token, absl::Duration deadline, grpc::ClientContext* context);

// One channel per address, at most kMaxChannels (the least recently used goes). Thread-safe.
class ChannelCache {
 public:
  static constexpr int kMaxChannels = 256;

  ChannelCache(AccessToken token, TlsFiles tls) : token_(std::move(token)), tls_(std::move(tls)) {}

  absl::StatusOr<std::shared_ptr<grpc::Channel>> Get(const std::string& address);
  // After a failure: the next Get dials anew instead of waiting out a back-off.
  void Forget(const std::string& address);
  const AccessToken& token() const { return token_; }

 private:
  struct Entry {
    std::shared_ptr<grpc::Channel> channel;
    int64_t last_use;
  };

  const AccessToken token_;
  const TlsFiles tls_;
  Mutex mutex_;
  int64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::rpc
