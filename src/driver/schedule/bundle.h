// One TRAIN bundle's life as a pure state machine: its rollout and its scores are made apart,
// because a lost rollout does not spoil scores that a scorer holds (a regenerated bundle must have
// the same bytes).
//
//   rollout  kWaiting -> kLeased -> kHeld;  lost: kWaiting with attempt + 1;
//            kHeld -> kOrphaned when its holder died while the step trains: the learners may have
//            it already.
//   score    kWaiting -> kLeased -> kHeld;  lost: kWaiting with score_attempt + 1.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/digest.h"
#include "retort/v1/artifact.pb.h"

namespace retort::driver {

enum class RolloutPhase : uint8_t { kWaiting, kLeased, kHeld, kOrphaned };
enum class ScorePhase : uint8_t { kWaiting, kLeased, kHeld };

// What a holder reported about an artifact. The address follows from the holder.
struct Artifact {
  std::string id;
  std::string address;
  Digest digest;
  int64_t bytes = 0;
};
void SetRef(const Artifact& artifact, v1::ArtifactRef* ref);

struct Bundle {
  RolloutPhase rollout = RolloutPhase::kWaiting;
  ScorePhase score = ScorePhase::kWaiting;
  int32_t attempt = 1;
  int32_t score_attempt = 1;
  int32_t scored_attempt = 0;  // `attempt` whose artifact the score lease names.
  int32_t worker = -1;         // Rollout worker that generates or holds it.
  int32_t scorer = -1;
  std::unique_ptr<Artifact> held;    // The rollout, while kHeld or kOrphaned.
  std::unique_ptr<Artifact> scores;  // While kHeld.
  Digest first_scores;  // Of the first scores; zero: none yet. Later ones must be equal.
};

enum class BundleChange {
  kLease,        // To `worker`.
  kReport,       // By `worker` for `attempt`.
  kLoseRollout,  // Its worker died, or its artifact cannot be fetched.
  kOrphan,       // Its holder died while the step trains.
  kScoreLease,
  kScored,  // For `score_attempt`.
  kLoseScores,
};
struct BundleInput {
  BundleChange change;
  int32_t worker = -1;  // Or the scorer.
  int32_t attempt = 0;  // Of kReport and kScored.
};

enum class BundleVerdict {
  kApplied,
  kRefused,  // Not possible in this state: a zombie's, or a duplicate.
};

// Moves `bundle` if its state allows the change. Artifacts are attached by the caller after
// kReport/kScored and dropped here with the state that they belong to.
BundleVerdict Apply(Bundle& bundle, const BundleInput& input);

}  // namespace retort::driver
