// Fetches and decodes a step's artifacts from the workers that hold them, several at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/artifact/rollout.h"
#include "common/artifact/scores.h"
#include "retort/v1/control.pb.h"

namespace retort::worker {

// Thread-safe. Returns the bytes that `ref` names, checked against its digest.
using ArtifactFetcher = std::function<absl::StatusOr<std::string>(const v1::ArtifactRef& ref)>;

struct FetchFailure {
  v1::BundleId bundle;
  v1::ArtifactRef ref;
  absl::Status status;
};

struct FetchedBundles {
  std::vector<artifact::Rollout>
      rollouts;  // In the order of `bundles`; empty where fetching failed.
  std::vector<artifact::Scores> scores;
  // The holder is suspect; in the order of `bundles`. What had not begun when one did not come
  // before its deadline is not tried.
  std::vector<FetchFailure> failures;
};

// Errors: DATA_LOSS an artifact's bytes are what its holder announced, but not an artifact;
// INVALID_ARGUMENT a malformed reference. Both are no holder's loss: making the bundle again would
// not help.
absl::StatusOr<FetchedBundles> FetchBundles(absl::Span<const v1::TrainBundle> bundles,
                                            const ArtifactFetcher& fetch, int max_streams = 8);

}  // namespace retort::worker
