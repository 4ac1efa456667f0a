// Fetches an artifact from the worker that holds it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/artifact_bytes.h"
#include "common/rpc/channel.h"
#include "retort/v1/artifact.pb.h"

namespace retort::rpc {

// Blocks for at most `deadline`. The size is checked against `ref` before anything is allocated,
// the digest after. Errors, each naming artifact and address: INVALID_ARGUMENT a malformed ref;
// DATA_LOSS size or digest differ; UNAVAILABLE, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED
// from the call. A caller reports FetchFailed for all of them but INVALID_ARGUMENT.
absl::StatusOr<std::string> FetchArtifact(const v1::ArtifactRef& ref, ChannelCache& channels,
                                          absl::Duration deadline);

// Hands the bytes to `sink` as they come, of any size and unchecked but for their number: for a
// consumer that has a place for them and knows their digest. Blocks for at most `deadline` (an
// hour). Errors, each naming artifact and address: the sink's; DATA_LOSS more or fewer bytes than
// announced; those of the call.
absl::Status StreamArtifact(const std::string& address, const std::string& id,
                            ChannelCache& channels, absl::Duration deadline,
                            const ArtifactSink& sink);

}  // namespace retort::rpc
