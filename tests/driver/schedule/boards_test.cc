// What is leased next, and how long it may take.
#include "driver/schedule/eval_board.h"
#include "driver/schedule/phase_times.h"
#include "driver/schedule/train_board.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

class TrainBoardTest : public ::testing::Test {
 protected:
  TrainBoardTest() {
    board_.Open(4, 3, {}, absl::ZeroDuration());
    board_.Open(5, 4, {}, absl::ZeroDuration());
  }
  std::pair<int64_t, int> Next() {
    const auto key = board_.NextRollout();
    return key ? std::make_pair(key->step, key->index) : std::make_pair(int64_t{-1}, -1);
  }
  void Lease(HeldKey key) { board_.Change(key, {BundleChange::kLease, 0}); }
  void Finish(HeldKey key) {
    Lease(key);
    const int attempt = board_.Find(key.step)->bundles[key.index].attempt;
    board_.Change(key, {BundleChange::kReport, 0, attempt});
    board_.Change(key, {BundleChange::kScoreLease, 0});
    board_.Change(key, {BundleChange::kScored, 0, 1});
  }
  TrainBoard board_{2, true};
};

TEST_F(TrainBoardTest, NextRollout_LowestStepFirstLostOnesBeforeFreshOnes) {
  EXPECT_EQ(Next(), std::make_pair(int64_t{4}, 0));
  Lease({4, 0});
  EXPECT_EQ(Next(), std::make_pair(int64_t{4}, 1));
  Lease({4, 1});
  EXPECT_EQ(Next(), std::make_pair(int64_t{5}, 0));
  board_.Change({4, 1}, {BundleChange::kLoseRollout});
  EXPECT_EQ(Next(), std::make_pair(int64_t{4}, 1));
  Lease({4, 1});
  Lease({5, 0});
  Lease({5, 1});
  EXPECT_EQ(Next().second, -1);
}

TEST_F(TrainBoardTest, Ready_OnlyWithEveryBundleHeldAndScored) {
  Finish({4, 0});
  EXPECT_FALSE(board_.Ready(4));
  Finish({4, 1});
  EXPECT_TRUE(board_.Ready(4));
  EXPECT_FALSE(board_.Ready(5));
  board_.Change({4, 1}, {BundleChange::kLoseScores});
  EXPECT_FALSE(board_.Ready(4));
  EXPECT_EQ(board_.NextScore()->index, 1);
}

TEST_F(TrainBoardTest, Orphaned_StaysReadyUntilItIsLost) {
  Finish({4, 0});
  Finish({4, 1});
  board_.Change({4, 0}, {BundleChange::kOrphan});
  EXPECT_TRUE(board_.Ready(4));
  board_.Change({4, 0}, {BundleChange::kLoseRollout});
  EXPECT_FALSE(board_.Ready(4));
  EXPECT_EQ(Next(), std::make_pair(int64_t{4}, 0));
}

TEST_F(TrainBoardTest, CloseOldest_ForgetsTheStepAndItsScores) {
  Lease({4, 0});
  board_.Change({4, 0}, {BundleChange::kReport, 0, 1});
  ASSERT_TRUE(board_.NextScore().has_value());
  board_.CloseOldest();
  EXPECT_EQ(board_.Find(4), nullptr);
  EXPECT_FALSE(board_.NextScore().has_value());
  EXPECT_EQ(board_.Change({4, 0}, {BundleChange::kLoseRollout}), BundleVerdict::kRefused);
  EXPECT_EQ(board_.next_step(), 6);
}

v1::RolloutReport EvalReport(int64_t rows, int64_t matches) {
  v1::RolloutReport report;
  report.mutable_eval()->set_rows(rows);
  report.mutable_eval()->set_exact_matches(matches);
  report.mutable_eval()->set_score_sum(static_cast<double>(matches) / 2);
  report.add_samples()->set_prompt("p");
  return report;
}

TEST(EvalBoardTest, AllBundlesReported_TotalsAreOverAllRows) {
  EvalBoard board(2);
  board.Open(3);
  EXPECT_TRUE(board.PinsUpTo(3));
  EXPECT_FALSE(board.PinsUpTo(2));
  EXPECT_FALSE(board.Next(2).has_value());
  EXPECT_EQ(board.Lease({3, 0}, 5), 1);
  EXPECT_EQ(board.Lease({3, 1}, 6), 1);
  EXPECT_FALSE(board.Next(3).has_value());
  EXPECT_TRUE(board.Report({3, 1}, 6, 1, EvalReport(2, 1)));
  EXPECT_FALSE(board.TakeFinished(3).has_value());
  EXPECT_TRUE(board.Report({3, 0}, 5, 1, EvalReport(6, 5)));
  const auto record = board.TakeFinished(3);
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->rows(), 8);
  EXPECT_DOUBLE_EQ(record->exact_match(), 6.0 / 8);
  EXPECT_DOUBLE_EQ(record->mean_score(), 3.0 / 8);
  EXPECT_EQ(record->samples_size(), 2);
  EXPECT_TRUE(board.empty());
}

TEST(EvalBoardTest, LostLease_IsGivenAgainAndTheZombieRefused) {
  EvalBoard board(1);
  board.Open(0);
  board.Lease({0, 0}, 5);
  board.Lose({0, 0}, 4, 1);
  EXPECT_FALSE(board.Next(0).has_value()) << "worker 4 does not have it";
  board.Lose({0, 0}, 5, 1);
  ASSERT_TRUE(board.Next(0).has_value());
  EXPECT_EQ(board.Lease({0, 0}, 6), 2);
  EXPECT_FALSE(board.Report({0, 0}, 5, 1, EvalReport(1, 1)));
  EXPECT_TRUE(board.Report({0, 0}, 6, 2, EvalReport(1, 1)));
  EXPECT_FALSE(board.Report({0, 0}, 6, 2, EvalReport(1, 1))) << "counted once";
}

TEST(PickSamplesTest, RoundRobinOverBundles) {
  std::map<int, std::vector<v1::SampleText>> samples;
  for (int bundle = 0; bundle < 3; ++bundle) {
    for (int i = 0; i < 4; ++i) samples[bundle].emplace_back().set_slot(bundle * 10 + i);
  }
  std::vector<int64_t> slots;
  for (const v1::SampleText& sample : PickSamples(samples, 8)) slots.push_back(sample.slot());
  EXPECT_THAT(slots, ::testing::ElementsAre(0, 10, 20, 1, 11, 21, 2, 12));
}

TEST(PhaseTimesTest, Patience_IsTheFloorUntilWorkIsSlow) {
  PhaseTimes times(absl::Seconds(10), absl::Seconds(120));
  EXPECT_EQ(times.Patience(Phase::kGenerate), absl::Seconds(10));
  EXPECT_EQ(times.Patience(Phase::kCheckpoint), absl::Seconds(120));
  EXPECT_EQ(times.Patience(Phase::kIdle), absl::InfiniteDuration());
  for (int i = 0; i < 10; ++i) times.Add(Phase::kGenerate, absl::Seconds(1));
  EXPECT_EQ(times.Patience(Phase::kGenerate), absl::Seconds(10));
  times.Add(Phase::kGenerate, absl::Seconds(8));
  EXPECT_EQ(times.Patience(Phase::kGenerate), absl::Seconds(40));
  EXPECT_EQ(times.Patience(Phase::kScore), absl::Seconds(10)) << "phases do not mix";
}

TEST(PhaseTimesTest, Patience_IgnoresTheSlowestPercentAndForgets) {
  PhaseTimes times(absl::Seconds(10), absl::Seconds(120));
  for (int i = 0; i < 4; ++i) times.Add(Phase::kTrain, absl::Seconds(1000));
  for (int i = 0; i < 508; ++i) times.Add(Phase::kTrain, absl::Seconds(4));
  EXPECT_EQ(times.Patience(Phase::kTrain), absl::Seconds(20));
  for (int i = 0; i < 1024; ++i) times.Add(Phase::kTrain, absl::Seconds(1));
  EXPECT_EQ(times.Patience(Phase::kTrain), absl::Seconds(10));
}

}  // namespace
}  // namespace retort::driver
