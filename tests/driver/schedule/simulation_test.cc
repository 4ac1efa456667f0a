// Random losses in any order must not change what is committed.
#include <cstdlib>
#include <random>

#include "absl/strings/numbers.h"
#include "driver/schedule/simulated_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

ScheduleConfig SmallJob(int lag) {
  ScheduleConfig config;
  config.steps = 12;
  config.lag = lag;
  config.slots_per_step = 10;
  config.samples_per_slot = 2;
  config.bundle_slots = 3;
  config.eval_every = 5;
  config.eval_rows = 7;
  config.eval_bundle_rows = 2;
  config.checkpoint_every = 4;
  config.keep_checkpoints = 2;
  config.rollouts = 3;
  config.scorers = 2;
  config.learners = 2;
  config.export_path = "RUN/model";
  config.max_bundle_attempts = 1000;
  config.rows_of_step = [](int64_t step) {
    std::vector<int64_t> rows(10);
    for (int i = 0; i < 10; ++i) rows[i] = (step * 10 + i) * 7 % 100;
    return rows;
  };
  return config;
}

std::vector<std::string> CommitSequence(const SimulatedCluster& cluster) {
  std::vector<std::string> sequence;
  for (const auto& [step, commit] : cluster.commits()) sequence.push_back(commit.weight_digest);
  return sequence;
}

std::map<int64_t, double> EvalResults(const SimulatedCluster& cluster) {
  std::map<int64_t, double> results;
  for (const auto& [version, record] : cluster.evals()) results[version] = record.exact_match();
  return results;
}

// RETORT_SEED repeats a run; without it a fresh seed is drawn and printed.
uint64_t Seed() {
  uint64_t seed = std::random_device{}();
  if (const char* given = std::getenv("RETORT_SEED")) (void)absl::SimpleAtoi(given, &seed);
  return seed;
}

class SimulationTest : public ::testing::TestWithParam<int> {};

TEST_P(SimulationTest, Undisturbed_CommitsEveryStepOnce) {
  const ScheduleConfig config = SmallJob(GetParam());
  SimulatedCluster cluster(config, {});
  ASSERT_TRUE(cluster.Run());
  EXPECT_EQ(cluster.failure(), "");
  EXPECT_EQ(CommitSequence(cluster).size(), 13u);
  EXPECT_EQ(cluster.done_digest(), cluster.commits().at(11).weight_digest);
  std::vector<int64_t> versions;
  for (const auto& [version, record] : cluster.evals()) {
    versions.push_back(version);
    EXPECT_EQ(record.rows(), 7);
  }
  EXPECT_THAT(versions, ::testing::ElementsAre(0, 5, 10, 12));
  EXPECT_THAT(cluster.violations(), IsEmpty());
}

TEST_P(SimulationTest, RandomLosses_CommitTheSameSequence) {
  const ScheduleConfig config = SmallJob(GetParam());
  SimulatedCluster calm(config, {});
  ASSERT_TRUE(calm.Run());
  const uint64_t seed = Seed();
  int losses = 0, restarts = 0;
  int64_t refused = 0;
  for (uint64_t i = 0; i < 150; ++i) {
    SimulationOptions options;
    options.seed = seed + i;
    options.loss_rate = i % 3 == 0 ? 0.01 : 0.08;
    options.hang_rate = 0.002;
    options.zombie_rate = 0.05;
    options.restart_rate = i % 2 == 0 ? 0.001 : 0;
    options.stop_rate = i % 4 == 0 ? 0.001 : 0;
    SimulatedCluster cluster(config, options);
    ASSERT_TRUE(cluster.Run(2'000'000)) << "did not end; RETORT_SEED=" << seed + i;
    ASSERT_EQ(cluster.failure(), "") << "RETORT_SEED=" << seed + i;
    ASSERT_EQ(CommitSequence(cluster), CommitSequence(calm)) << "RETORT_SEED=" << seed + i;
    ASSERT_EQ(EvalResults(cluster), EvalResults(calm)) << "RETORT_SEED=" << seed + i;
    ASSERT_THAT(cluster.violations(), IsEmpty()) << "RETORT_SEED=" << seed + i;
    losses += cluster.losses();
    restarts += cluster.restarts();
    refused += cluster.refused();
  }
  std::cout << "seed " << seed << ": " << losses << " losses, " << restarts << " restarts, "
            << refused << " refused messages\n";
  EXPECT_GT(losses, 1000);
  EXPECT_GT(restarts, 5);
  EXPECT_GT(refused, 300);
}

INSTANTIATE_TEST_SUITE_P(Lags, SimulationTest, ::testing::Values(0, 1, 3));

TEST(SimulationSftTest, RandomLosses_CommitTheSameSequence) {
  ScheduleConfig config = SmallJob(0);
  config.reinforcement = false;
  config.scorers = 0;
  SimulatedCluster calm(config, {});
  ASSERT_TRUE(calm.Run());
  ASSERT_EQ(calm.failure(), "");
  const uint64_t seed = Seed();
  for (uint64_t i = 0; i < 50; ++i) {
    SimulatedCluster cluster(config, {.seed = seed + i, .loss_rate = 0.02, .hang_rate = 0.005});
    ASSERT_TRUE(cluster.Run(1'000'000)) << "RETORT_SEED=" << seed + i;
    ASSERT_EQ(cluster.failure(), "") << "RETORT_SEED=" << seed + i;
    ASSERT_EQ(CommitSequence(cluster), CommitSequence(calm)) << "RETORT_SEED=" << seed + i;
  }
}

TEST(SimulationSftTest, NoEvaluation_NeedsNoRolloutWorkers) {
  ScheduleConfig config = SmallJob(0);
  config.reinforcement = false;
  config.scorers = config.rollouts = 0;
  config.eval_every = 0;
  SimulatedCluster cluster(config, {});
  ASSERT_TRUE(cluster.Run());
  EXPECT_EQ(cluster.failure(), "");
  EXPECT_EQ(cluster.commits().size(), 13u);
  EXPECT_THAT(cluster.bundle_log(), IsEmpty());
}

// Runs until `steps` steps are committed.
void RunTo(SimulatedCluster& cluster, size_t steps) {
  while (cluster.commits().size() < steps + 1) ASSERT_FALSE(cluster.Run(cluster.events() + 1));
}

TEST(SimulationFaultTest, BrokenNewestCheckpoint_OlderOneIsUsedAndNamed) {
  const ScheduleConfig config = SmallJob(1);
  SimulatedCluster calm(config, {});
  ASSERT_TRUE(calm.Run());
  SimulatedCluster cluster(config, {});
  RunTo(cluster, 10);
  cluster.BreakCheckpoint("step-8");
  cluster.RestartDriver();
  ASSERT_TRUE(cluster.Run());
  ASSERT_EQ(cluster.failure(), "");
  EXPECT_THAT(cluster.unusable(), ::testing::ElementsAre("step-8"));
  EXPECT_EQ(cluster.epochs().back().step, 4);
  EXPECT_EQ(CommitSequence(cluster), CommitSequence(calm));
}

TEST(SimulationFaultTest, RegeneratedBundleDiffers_StopsNamingBothDigests) {
  SimulatedCluster cluster(SmallJob(0), {});
  RunTo(cluster, 2);
  for (int bundle = 0; bundle < 4; ++bundle) cluster.Corrupt(1, bundle);
  cluster.RestartDriver();
  ASSERT_TRUE(cluster.Run());
  EXPECT_THAT(cluster.failure(), HasSubstr("divergence: bundle"));
  EXPECT_THAT(cluster.failure(), ::testing::ContainsRegex("[0-9a-f]{32} now and had [0-9a-f]{32}"));
}

TEST(SimulationFaultTest, ReplayEndsWithOtherWeights_StopsNamingBothDigests) {
  SimulatedCluster cluster(SmallJob(0), {});
  RunTo(cluster, 3);
  cluster.CorruptWeights(2);
  cluster.KillNow({v1::ROLE_LEARNER, 1});
  ASSERT_TRUE(cluster.Run());
  EXPECT_THAT(cluster.failure(), HasSubstr("divergence: step 2 ended with weights"));
  EXPECT_THAT(cluster.failure(),
              HasSubstr(cluster.commits().at(2).weight_digest + " when it was committed"));
}

TEST(SimulationFaultTest, BadSteps_StopAfterTheLimitNamingTheBatch) {
  ScheduleConfig config = SmallJob(0);
  config.max_bad_steps = 2;
  SimulatedCluster tolerated(config, {});
  for (const int step : {3, 4, 6, 7}) tolerated.MarkBad(step);
  ASSERT_TRUE(tolerated.Run());
  EXPECT_EQ(tolerated.failure(), "");
  SimulatedCluster stopped(config, {});
  for (const int step : {3, 4, 5}) stopped.MarkBad(step);
  ASSERT_TRUE(stopped.Run());
  EXPECT_THAT(stopped.failure(), HasSubstr("3 steps in a row"));
  EXPECT_THAT(stopped.failure(), HasSubstr("RUN/bad-batch-7.safetensors"));
}

}  // namespace
}  // namespace retort::driver
