// Serves the artifacts that a worker holds.
#pragma once

#include <memory>

#include "common/rpc/access_token.h"
#include "common/rpc/artifact_bytes.h"
#include "common/rpc/server.h"

namespace retort::rpc {

inline constexpr int64_t kMaxArtifactBytes = int64_t{4} << 30;
inline constexpr int64_t kArtifactChunkBytes = 1 << 20;

struct ArtifactServiceOptions {
  int max_streams = 256;  // At once; more are refused with RESOURCE_EXHAUSTED.
};

// ArtifactService.Fetch in chunks of 1 MiB, one in flight per call. A call without a deadline (or
// with one beyond an hour) is refused: a reader that stops reading must not hold its stream for
// ever.
std::unique_ptr<Service> MakeArtifactService(const AccessToken& token, ArtifactLookup lookup,
                                             const ArtifactServiceOptions& options = {});

}  // namespace retort::rpc
