// Fetches an artifact from the worker that holds it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/channel.h"
#include "retort/v1/artifact.pb.h"

namespace retort::rpc {

// Blocks for at most `deadline`. The size is checked against `ref` before anything is allocated,
// the digest after. Errors, each naming artifact and address: INVALID_ARGUMENT a malformed ref;
// DATA_LOSS size or digest differ; UNAVAILABLE, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED
// from the call. A caller reports FetchFailed for all of them but INVALID_ARGUMENT.
absl::StatusOr<std::string> FetchArtifact(const v1::ArtifactRef& ref, ChannelCache& channels,
                                          absl::Duration deadline);

}  // namespace retort::rpc
