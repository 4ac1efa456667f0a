#include "common/objective/score_scaling.h"

#include <cmath>

#include "common/objective/running_moments.h"
#include "gtest/gtest.h"

namespace retort::objective {
namespace {

TEST(RunningMomentsTest, TwoBatches_HandValues) {
  RunningMoments moments;
  UpdateMoments(at::tensor({1.f, 2.f, 3.f, 4.f}), &moments);
  EXPECT_NEAR(moments.mean, 2.5, 1e-12);
  EXPECT_NEAR(moments.var, 1.25, 1e-12);
  EXPECT_NEAR(moments.std, 1.2909944, 1e-7);
  const BatchMoments batch = UpdateMoments(at::tensor({5.f, 7.f}), &moments);
  EXPECT_NEAR(moments.mean, 3.6666667, 1e-7);
  EXPECT_NEAR(moments.var, 3.8888889, 1e-7);
  EXPECT_NEAR(moments.std, 2.1602469, 1e-7);
  EXPECT_NEAR(batch.mean, 6, 1e-12);
  EXPECT_NEAR(batch.std, std::sqrt(2.0), 1e-12);
}

TEST(RunningMomentsTest, SingleFirstScore_StdStaysOne) {
  RunningMoments moments;
  EXPECT_TRUE(std::isnan(UpdateMoments(at::tensor({5.f}), &moments).std));
  EXPECT_EQ(moments.std, 1);
  UpdateMoments(at::tensor({7.f}), &moments);
  EXPECT_NEAR(moments.std, std::sqrt(2.0), 1e-9);
}

TEST(ScoreScalingTest, Off_ReturnsTheScoresAndKeepsTheMoments) {
  RunningMoments moments;
  const at::Tensor scores = at::tensor({1.f, -2.f});
  EXPECT_TRUE(at::equal(ScaleScores(scores, ScoreScalingOptions{}, &moments), scores));
  EXPECT_EQ(moments, RunningMoments{});
}

TEST(ScoreScalingTest, NormThenClip) {
  RunningMoments moments;
  ScoreScalingOptions options{.use_score_scaling = true, .use_score_norm = true, .score_clip = 0.5};
  const at::Tensor scaled = ScaleScores(at::tensor({1.f, 2.f, 3.f}), options, &moments);
  EXPECT_TRUE(at::allclose(scaled, at::tensor({-0.5f, 0.f, 0.5f}), 0, 1e-6));
}

}  // namespace
}  // namespace retort::objective
