#include "common/objective/sft_loss.h"

#include <cmath>

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

TEST(SftLossTest, MicroBatches_GlobalDenominator_SameGradient) {
  const at::Tensor values = at::tensor({-1.f, -2.f, -3.f, -4.f});
  const auto gradient = [&](std::vector<std::pair<int, int>> cuts) {
    const at::Tensor leaf = values.clone().set_requires_grad(true);
    for (const auto& [begin, end] : cuts) {
      TotalLoss({SftTokenLoss(leaf.slice(0, begin, end), {}, {}, {}, 4).term}).backward();
    }
    return leaf.grad();
  };
  EXPECT_TRUE(at::equal(gradient({{0, 4}}), at::full({4}, -0.25f)));
  EXPECT_TRUE(at::equal(gradient({{0, 1}, {1, 4}}), at::full({4}, -0.25f)));
}

TEST(SftLossTest, Statistics_OverTheMask) {
  const at::Tensor mask = at::tensor({1, 1, 0}).to(at::kBool);
  at::Tensor sums = NewSftSums();
  sums += SftTokenLoss(at::tensor({-1.f, -3.f, -99.f}), mask, at::tensor({0.5f, 1.5f, 7.f}),
                       at::tensor({1, 0, 1}).to(at::kBool), 3)
              .sums;
  sums += SftTokenLoss(at::tensor({-5.f}), {}, at::tensor({1.f}), at::tensor({1}).to(at::kBool), 3)
              .sums;
  const SftStatistics got = FinishSftStatistics(sums);
  EXPECT_EQ(got.tokens, 3);
  EXPECT_DOUBLE_EQ(got.loss, 3);
  EXPECT_DOUBLE_EQ(got.entropy, 1);
  EXPECT_DOUBLE_EQ(got.mean_token_accuracy, 2.0 / 3);
}

TEST(SftLossTest, NoToken_Nan) { EXPECT_TRUE(std::isnan(FinishSftStatistics(NewSftSums()).loss)); }

}  // namespace
}  // namespace retort::objective
