#include "driver/schedule/bundle.h"

#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using enum BundleChange;
using R = RolloutPhase;
using S = ScorePhase;

struct State {
  R rollout = R::kWaiting;
  S score = S::kWaiting;
  int attempt = 1;
  int score_attempt = 1;
  bool operator==(const State&) const = default;
};

struct BundleCase {
  const char* name;
  State before;
  BundleInput input;  // Worker 7 and scorer 3 have the bundle.
  BundleVerdict verdict;
  State after;
};

constexpr BundleVerdict kYes = BundleVerdict::kApplied, kNo = BundleVerdict::kRefused;

const BundleCase kCases[] = {
    {"lease", {}, {kLease, 7}, kYes, {R::kLeased}},
    {"second lease", {R::kLeased}, {kLease, 8}, kNo, {R::kLeased}},
    {"report", {R::kLeased}, {kReport, 7, 1}, kYes, {R::kHeld}},
    {"report of another worker", {R::kLeased}, {kReport, 8, 1}, kNo, {R::kLeased}},
    {"zombie's report",
     {R::kLeased, S::kWaiting, 2},
     {kReport, 7, 1},
     kNo,
     {R::kLeased, S::kWaiting, 2}},
    {"duplicate report", {R::kHeld}, {kReport, 7, 1}, kNo, {R::kHeld}},
    {"lost while leased", {R::kLeased}, {kLoseRollout}, kYes, {R::kWaiting, S::kWaiting, 2}},
    {"lost while held", {R::kHeld}, {kLoseRollout}, kYes, {R::kWaiting, S::kWaiting, 2}},
    {"lost while orphaned", {R::kOrphaned}, {kLoseRollout}, kYes, {R::kWaiting, S::kWaiting, 2}},
    {"lost while waiting", {}, {kLoseRollout}, kNo, {}},
    {"orphaned", {R::kHeld}, {kOrphan}, kYes, {R::kOrphaned}},
    {"orphaned while leased", {R::kLeased}, {kOrphan}, kNo, {R::kLeased}},
    {"a lost rollout leaves held scores",
     {R::kHeld, S::kHeld},
     {kLoseRollout},
     kYes,
     {R::kWaiting, S::kHeld, 2}},
    {"score lease", {R::kHeld}, {kScoreLease, 3}, kYes, {R::kHeld, S::kLeased}},
    {"score lease without rollout", {R::kLeased}, {kScoreLease, 3}, kNo, {R::kLeased}},
    {"second score lease", {R::kHeld, S::kLeased}, {kScoreLease, 3}, kNo, {R::kHeld, S::kLeased}},
    {"scored", {R::kHeld, S::kLeased}, {kScored, 3, 1}, kYes, {R::kHeld, S::kHeld}},
    {"scored after its rollout was lost",
     {R::kWaiting, S::kLeased, 2},
     {kScored, 3, 1},
     kYes,
     {R::kWaiting, S::kHeld, 2}},
    {"zombie's scores",
     {R::kHeld, S::kLeased, 1, 2},
     {kScored, 3, 1},
     kNo,
     {R::kHeld, S::kLeased, 1, 2}},
    {"scores of another scorer",
     {R::kHeld, S::kLeased},
     {kScored, 4, 1},
     kNo,
     {R::kHeld, S::kLeased}},
    {"scores lost while leased",
     {R::kHeld, S::kLeased},
     {kLoseScores},
     kYes,
     {R::kHeld, S::kWaiting, 1, 2}},
    {"scores lost while held",
     {R::kHeld, S::kHeld},
     {kLoseScores},
     kYes,
     {R::kHeld, S::kWaiting, 1, 2}},
    {"no scores to lose", {R::kHeld}, {kLoseScores}, kNo, {R::kHeld}},
};

TEST(BundleTest, Apply_EachChange_NextStateAndVerdict) {
  for (const BundleCase& c : kCases) {
    Bundle bundle;
    bundle.rollout = c.before.rollout;
    bundle.score = c.before.score;
    bundle.attempt = c.before.attempt;
    bundle.score_attempt = c.before.score_attempt;
    bundle.worker = c.before.rollout == R::kWaiting ? -1 : 7;
    bundle.scorer = c.before.score == S::kWaiting ? -1 : 3;
    EXPECT_EQ(Apply(bundle, c.input), c.verdict) << c.name;
    const State after{bundle.rollout, bundle.score, bundle.attempt, bundle.score_attempt};
    EXPECT_TRUE(after == c.after) << c.name;
  }
}

TEST(BundleTest, LostRollout_DropsItsArtifactAndWorker) {
  Bundle bundle;
  Apply(bundle, {kLease, 7});
  Apply(bundle, {kReport, 7, 1});
  bundle.held = std::make_unique<Artifact>();
  Apply(bundle, {kLoseRollout});
  EXPECT_EQ(bundle.held, nullptr);
  EXPECT_EQ(bundle.worker, -1);
}

}  // namespace
}  // namespace retort::driver
