// The check at the head of every handler. Server interceptors cannot refuse a call in gRPC 1.51 and
// SetAuthMetadataProcessor aborts on insecure credentials, so each method calls this; a test
// enumerates the methods from the proto descriptors and fails for one that does not.
#pragma once

#include "absl/status/status.h"
#include "common/rpc/access_token.h"
#include "grpcpp/server_context.h"

namespace retort::rpc {

// UNAUTHENTICATED unless exactly one "retort-token" came and is right. The message does not say
// which.
absl::Status Authenticate(const grpc::ServerContextBase& context, const TokenVerifier& verifier);

}  // namespace retort::rpc
