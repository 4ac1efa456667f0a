// Any process killed at any moment, again and again, the whole run included: the weights of an
// undisturbed run.
#include <signal.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;

// True once `child` has ended or `pause` is over.
void Pause(const ChildProcess& child, absl::Duration pause) {
  const absl::Duration end = Clock::Real()->Now() + pause;
  WaitFor([&] { return Clock::Real()->Now() >= end || child.Ended(); });
}

TEST(RandomKillsTest, AnyRoleAndTheRunItself_SameWeights) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  CounterRng rng(seed, RngPurpose::kData, 0);
  JobOptions options;
  options.steps = 30;
  options.lag = 1;
  options.learner_ranks = 2;
  options.rollout_workers = 2;
  const std::string want = UndisturbedWeights(options);

  // "" is `retort run` itself.
  const std::vector<std::string> victims = {"rollout-0", "rollout-1", "scorer-0", "learner-0",
                                            "learner-1", "agent",     ""};
  SmallRun run("random-kills", options);
  std::unique_ptr<ChildProcess> child = run.Launch();
  int killed = 0;
  // At most 3 of the 30 steps pass between two kills.
  for (int round = 0; round < 12; ++round) {
    const int64_t target = run.Commits() + static_cast<int64_t>(rng.NextBelow(3));
    WaitFor([&] { return run.Commits() >= target || child->Ended(); });
    Pause(*child, absl::Milliseconds(rng.NextBelow(100)));
    const std::string& victim = victims[rng.NextBelow(victims.size())];
    pid_t pid = child->pid();
    if (!victim.empty()) {
      WaitFor([&] { return (pid = run.PidOf(victim)) > 0 || child->Ended(); });
    }
    if (child->Ended()) break;
    if (kill(pid, SIGKILL) != 0) continue;  // It is dead already, of its group's loss.
    ++killed;
    if (!victim.empty()) continue;
    EXPECT_EQ(child->Wait(), 128 + SIGKILL);
    const bool begun = run.Journal("SELECT COUNT(*) FROM epochs") > 0;
    child = begun ? run.LaunchResume() : run.Launch();
  }
  EXPECT_EQ(child->Wait(), 0) << child->output();
  EXPECT_GE(killed, 3);
  EXPECT_THAT(child->output(), HasSubstr("final weights: " + want));
}

}  // namespace
}  // namespace retort::e2e
