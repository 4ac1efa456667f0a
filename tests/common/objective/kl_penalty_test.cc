#include "common/objective/kl_penalty.h"

#include <limits>

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

TEST(KlPenaltyTest, PerToken_EachKind_HandValues) {
  const at::Tensor l = at::tensor({-1.0f, -2.0f, -0.5f});
  const at::Tensor r = at::tensor({-1.2f, -1.5f, -0.5f});
  EXPECT_TRUE(at::allclose(KlPerToken(KlPenalty::kKl, l, r), at::tensor({0.2f, -0.5f, 0.0f})));
  EXPECT_TRUE(at::allclose(KlPerToken(KlPenalty::kAbs, l, r), at::tensor({0.2f, 0.5f, 0.0f})));
  EXPECT_TRUE(at::allclose(KlPerToken(KlPenalty::kMse, l, r), at::tensor({0.02f, 0.125f, 0.0f})));
}

TEST(KlPenaltyTest, Full_HandValue) {
  const at::Tensor p = at::tensor({0.5, 0.3, 0.2}).log().unsqueeze(0);
  const at::Tensor q = at::tensor({0.4, 0.4, 0.2}).log().unsqueeze(0);
  EXPECT_NEAR(KlPerToken(KlPenalty::kFull, p, q).item<double>(), 0.0252672, 1e-7);
}

TEST(KlPenaltyTest, Full_ImpossibleToken_AddsNothing) {
  const double kInfinity = std::numeric_limits<double>::infinity();
  const at::Tensor p = at::tensor({0.0, -kInfinity});
  const at::Tensor q = at::tensor({-0.5, -kInfinity});
  EXPECT_DOUBLE_EQ(KlPerToken(KlPenalty::kFull, p, q).item<double>(), 0.5);
}

TEST(KlPenaltyTest, Parse_UnknownName_Refused) {
  EXPECT_TRUE(ParseKlPenalty("mse").ok());
  EXPECT_EQ(ParseKlPenalty("k3").status().message(),
            "kl_penalty is \"k3\"; expected kl, abs, mse or full");
}

TEST(RewardsTest, Score_AtTheLastTruePosition) {
  const at::Tensor mask = at::tensor({0, 1, 0, 1, 0, 1, 1, 0, 0, 0}).to(at::kBool).view({2, 5});
  const at::Tensor kl = at::full({2, 5}, 2.0f);
  const PpoRewards rewards = *ComputeRewards(at::tensor({10.0f, 20.0f}), kl, mask, 0.5);
  EXPECT_TRUE(at::equal(rewards.non_score_rewards, at::full({2, 5}, -1.0f)));
  const at::Tensor score = rewards.rewards - rewards.non_score_rewards;
  EXPECT_TRUE(at::equal(
      score, at::tensor({0.f, 0.f, 0.f, 10.f, 0.f, 0.f, 20.f, 0.f, 0.f, 0.f}).view({2, 5})));
}

TEST(RewardsTest, RowWithoutToken_RefusedByNumber) {
  const at::Tensor mask = at::tensor({1, 1, 0, 0}).to(at::kBool).view({2, 2});
  const absl::Status status = ComputeRewards(at::zeros({2}), at::zeros({2, 2}), mask, 0.1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("empty mask: row 1"), absl::string_view::npos);
}

}  // namespace
}  // namespace retort::objective
