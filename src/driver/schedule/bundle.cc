#include "driver/schedule/bundle.h"

namespace retort::driver {
namespace {

bool ApplyRollout(Bundle& bundle, const BundleInput& input) {
  switch (input.change) {
    case BundleChange::kLease:
      if (bundle.rollout != RolloutPhase::kWaiting) return false;
      bundle.rollout = RolloutPhase::kLeased;
      bundle.worker = input.worker;
      return true;
    case BundleChange::kReport:
      if (bundle.rollout != RolloutPhase::kLeased || bundle.worker != input.worker ||
          bundle.attempt != input.attempt) {
        return false;
      }
      bundle.rollout = RolloutPhase::kHeld;
      return true;
    case BundleChange::kLoseRollout:
      if (bundle.rollout == RolloutPhase::kWaiting) return false;
      bundle.rollout = RolloutPhase::kWaiting;
      bundle.worker = -1;
      bundle.held.reset();
      ++bundle.attempt;
      return true;
    case BundleChange::kOrphan:
      if (bundle.rollout != RolloutPhase::kHeld) return false;
      bundle.rollout = RolloutPhase::kOrphaned;
      return true;
    default:
      return false;
  }
}

bool ApplyScore(Bundle& bundle, const BundleInput& input) {
  switch (input.change) {
    case BundleChange::kScoreLease:
      if (bundle.score != ScorePhase::kWaiting || bundle.rollout != RolloutPhase::kHeld) {
        return false;
      }
      bundle.score = ScorePhase::kLeased;
      bundle.scorer = input.worker;
      bundle.scored_attempt = bundle.attempt;
      return true;
    case BundleChange::kScored:
      if (bundle.score != ScorePhase::kLeased || bundle.scorer != input.worker ||
          bundle.score_attempt != input.attempt) {
        return false;
      }
      bundle.score = ScorePhase::kHeld;
      return true;
    case BundleChange::kLoseScores:
      if (bundle.score == ScorePhase::kWaiting) return false;
      bundle.score = ScorePhase::kWaiting;
      bundle.scorer = -1;
      bundle.scores.reset();
      ++bundle.score_attempt;
      return true;
    default:
      return false;
  }
}

}  // namespace

void SetRef(const Artifact& artifact, v1::ArtifactRef* ref) {
  ref->set_artifact_id(artifact.id);
  ref->set_address(artifact.address);
  ref->set_digest(artifact.digest.ToHex());
  ref->set_bytes(artifact.bytes);
}

BundleVerdict Apply(Bundle& bundle, const BundleInput& input) {
  const bool about_scores = input.change == BundleChange::kScoreLease ||
                            input.change == BundleChange::kScored ||
                            input.change == BundleChange::kLoseScores;
  const bool applied = about_scores ? ApplyScore(bundle, input) : ApplyRollout(bundle, input);
  return applied ? BundleVerdict::kApplied : BundleVerdict::kRefused;
}

}  // namespace retort::driver
