// The one mapping between absl::Status and grpc::Status. Codes have equal numbers; a message is cut
// to 2 KiB at a UTF-8 boundary, because it travels percent-encoded in trailers of at most 8 KiB.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace retort::rpc {

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace retort::rpc
