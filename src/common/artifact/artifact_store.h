// The artifacts that one worker holds until their step is committed. In memory; thread-safe: the
// role's thread puts, the server's thread gets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/base/mutex.h"

namespace retort::artifact {

// The parts of an ArtifactRef that follow from the bytes.
struct StoredArtifact {
  Digest digest;
  int64_t bytes = 0;
};

class ArtifactStore {
 public:
  // Keeps `bytes` under `id` until `step` is released. Putting the same bytes again is fine (a
  // re-leased bundle). Errors: INVALID_ARGUMENT an id that is empty or longer than 128 bytes, or
  // more than 4 GiB; DATA_LOSS other bytes under an id that is held: the unit of work is not
  // deterministic, so the job must stop.
  absl::StatusOr<StoredArtifact> Put(int64_t step, const std::string& id, std::string bytes);

  // The bytes stay valid while the caller holds them, released or not. NOT_FOUND names the id.
  absl::StatusOr<std::shared_ptr<const std::string>> Get(const std::string& id) const;

  // Forgets every artifact of `up_to_step` and earlier steps; -1 forgets everything.
  void Release(int64_t up_to_step);

  int64_t held_bytes() const;
  int64_t held_artifacts() const;

 private:
  struct Held {
    int64_t step;
    StoredArtifact stored;
    std::shared_ptr<const std::string> bytes;
  };

  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, Held> held_ ABSL_GUARDED_BY(mutex_);
  int64_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace retort::artifact
