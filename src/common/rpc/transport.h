// Settings that both ends of every connection share. Internal to rpc/.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/endpoint.h"
#include "grpc/support/time.h"

namespace retort::rpc::internal {

// Client and server agree: a server that allows pings less often than a client sends them ends the
// connection with GOAWAY too_many_pings.
inline constexpr int kKeepaliveTimeMs = 10'000;
inline constexpr int kKeepaliveTimeoutMs = 5'000;
inline constexpr int kServerMinPingIntervalMs = 5'000;
inline constexpr int kMaxMetadataBytes = 8 << 10;
inline constexpr int kMaxConcurrentStreams = 512;  // Per connection.

struct TlsContents {
  std::string certificate;
  std::string key;
  std::string ca;
};
// The files' PEM text, each at most 1 MiB; empty for an empty path.
absl::StatusOr<TlsContents> ReadTlsFiles(const TlsFiles& tls);

// Call before anything of gRPC is made; idempotent. gRPC's own log lines become debug lines of ours
// (what matters comes back as a status), and gRPC stays initialised until the process ends: its
// shutdown joins a thread that may be polling for another 10 s after a large transfer.
void UseGrpc();

// Now + `duration` on gRPC's monotonic clock; infinite stays infinite.
gpr_timespec DeadlineAfter(absl::Duration duration);

}  // namespace retort::rpc::internal
