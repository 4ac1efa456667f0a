// Every function of the room on tensors of another device, which is compared with the CPU.
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/objective/gae.h"
#include "common/objective/importance_sampling.h"
#include "common/objective/kl_penalty.h"
#include "common/objective/masked_statistics.h"
#include "common/objective/optimizer.h"
#include "common/objective/ppo_loss.h"
#include "common/objective/ppo_statistics.h"
#include "common/objective/score_scaling.h"
#include "common/objective/sft_loss.h"
#include "common/objective/token_log_probs.h"
#include "gtest/gtest.h"
#include "testing/test_device.h"

namespace retort::objective {
namespace {

// Not before main: retort-gpu-test has no device then, and none at all without a GPU.
std::vector<at::Device> Devices() { return {at::kCPU, TestDevice()}; }

// Numbers [rows, columns] that differ with `seed`.
at::Tensor Numbers(int64_t seed, int64_t rows = 3, int64_t columns = 5) {
  return (at::arange(rows * columns, at::kFloat) * 1.7 + static_cast<double>(seed))
      .sin()
      .view({rows, columns});
}

at::Tensor Mask() { return (at::arange(15) < 11).view({3, 5}); }

// A GPU adds in another order, and its functions differ in the last bits.
constexpr double kRelative = 1e-5, kAbsolute = 1e-6;

bool AreNear(const at::Tensor& got, const at::Tensor& want) {
  return at::allclose(got.cpu(), want.cpu(), kRelative, kAbsolute, /*equal_nan=*/true);
}

void ExpectNear(const std::map<std::string, double>& got,
                const std::map<std::string, double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, value] : want) {
    ASSERT_TRUE(got.contains(name)) << name;
    if (std::isnan(value) && std::isnan(got.at(name))) continue;
    EXPECT_NEAR(got.at(name), value, kAbsolute + kRelative * std::abs(value)) << name;
  }
}

// What `body` gives on each device agrees and lies there.
void ExpectNearOnBoth(const std::function<at::Tensor(const at::Device&)>& body) {
  const at::Tensor here = body(at::kCPU), there = body(TestDevice());
  EXPECT_EQ(there.device(), TestDevice());
  EXPECT_TRUE(AreNear(there, here)) << there.cpu() << here;
}

TEST(DeviceObjectiveTest, AdamW_AndRmsprop) {
  for (const bool adamw : {true, false}) {
    ExpectNearOnBoth([&](const at::Device& device) {
      const at::Tensor p = Numbers(1).to(device, at::kFloat, false, /*copy=*/true);
      const at::Tensor m = at::zeros_like(p), v = at::zeros_like(p);
      for (int64_t step = 1; step <= 3; ++step) {
        const at::Tensor g = Numbers(10 + step).to(device);
        if (adamw) {
          AdamWUpdate(p, g, m, v, step, 0.01, {});
        } else {
          RmspropUpdate(p, g, v, m, 0.01, {.momentum = 0.9});
        }
      }
      return p;
    });
  }
}

TEST(DeviceObjectiveTest, SumOfSquaresAndClipping) {
  const at::Tensor g = Numbers(3, 200, 301);
  const double want = SumOfSquares(g);
  EXPECT_NEAR(SumOfSquares(g.to(TestDevice())), want, 1e-12 * want);
  EXPECT_NEAR(SumOfSquares(g.to(TestDevice()).to(at::kDouble)), want, 1e-12 * want);
  EXPECT_FALSE(std::isfinite(SumOfSquares((g / 0.0).to(TestDevice()))));
  EXPECT_EQ(SumOfSquares(g.narrow(0, 0, 0).to(TestDevice())), 0);
  const at::Tensor a = g.clone(), b = g.to(TestDevice());
  const double norm = ClipGradNorm({a}, 1.0);
  EXPECT_NEAR(ClipGradNorm({b}, 1.0), norm, 1e-12 * norm);
  EXPECT_TRUE(at::allclose(b.cpu(), a, 1e-6, 0));
}

TEST(DeviceObjectiveTest, SumOfSquares_OfSeveralBlocks_CountsEveryElementOnce) {
  const int64_t count = (int64_t{1} << 25) + 3;
  const at::Tensor ones = at::full({count}, 1, at::TensorOptions(at::kFloat).device(TestDevice()));
  const double want = static_cast<double>(count);
  EXPECT_NEAR(SumOfSquares(ones), want, 1e-9 * want);
}

TEST(DeviceObjectiveTest, MaskedStatistics) {
  ExpectNearOnBoth([](const at::Device& device) {
    return MaskedMean(Numbers(1).to(device), Mask().to(device), 1);
  });
  ExpectNearOnBoth([](const at::Device& device) {
    return *MaskedVariance(Numbers(1).to(device), Mask().to(device));
  });
  ExpectNearOnBoth([](const at::Device& device) {
    return *Whiten(Numbers(1).to(device), Mask().to(device), /*shift_mean=*/false);
  });
  std::vector<GlobalStatistics> found;
  for (const at::Device& device : Devices()) {
    const at::Tensor x = Numbers(1).to(device), y = Numbers(2).to(device), m = Mask().to(device);
    found.push_back(StatisticsOverParts({x, y}, {m, at::Tensor()}));
  }
  EXPECT_NEAR(found[1].mean, found[0].mean, 1e-12);
  EXPECT_NEAR(found[1].variance, found[0].variance, 1e-12);
  EXPECT_EQ(found[0].count, 26);
}

TEST(DeviceObjectiveTest, Gae) {
  for (at::Tensor GaeResult::*field :
       {&GaeResult::values, &GaeResult::advantages, &GaeResult::returns}) {
    ExpectNearOnBoth([&](const at::Device& device) {
      return (*ComputeGae(Numbers(1).to(device), Numbers(2).to(device), Mask().to(device),
                          {.gamma = 0.9, .whiten_rewards = true})).*
             field;
    });
  }
}

TEST(DeviceObjectiveTest, KlAndRewards) {
  for (const KlPenalty kind :
       {KlPenalty::kKl, KlPenalty::kAbs, KlPenalty::kMse, KlPenalty::kFull}) {
    ExpectNearOnBoth([&](const at::Device& device) {
      return KlPerToken(kind, Numbers(1).to(device), Numbers(2).to(device));
    });
  }
  ExpectNearOnBoth([](const at::Device& device) {
    const at::Tensor mask = (at::arange(15) % 5 < 3).view({3, 5}).to(device);
    return ComputeRewards(Numbers(5, 1, 3)[0].to(device), Numbers(1).to(device), mask, 0.2)
        ->rewards;
  });
}

TEST(DeviceObjectiveTest, ImportanceSampling) {
  ExpectNearOnBoth([](const at::Device& device) {
    return TruncatedImportanceWeights(Numbers(1).to(device), Numbers(2).to(device),
                                      Mask().to(device), 1.5);
  });
  std::vector<std::map<std::string, double>> found;
  for (const at::Device& device : Devices()) {
    found.push_back(
        SamplingStatistics(Numbers(1).to(device), Numbers(2).to(device), Mask().to(device), 1.5));
  }
  ExpectNear(found[1], found[0]);
}

TEST(DeviceObjectiveTest, PpoLoss_TermsGradientsAndSums) {
  std::vector<at::Tensor> losses, gradients, sums;
  for (const at::Device& device : Devices()) {
    PpoLossInputs in;
    in.log_probs = Numbers(1).to(device).detach().set_requires_grad(true);
    in.values = Numbers(2).to(device).detach().set_requires_grad(true);
    in.old_log_probs = Numbers(9).to(device);
    in.old_values = Numbers(4).to(device);
    in.advantages = Numbers(5).to(device);
    in.returns = Numbers(6).to(device);
    in.mask = Mask().to(device);
    in.entropy = Numbers(7).to(device);
    in.weights = Numbers(8).abs().to(device);
    const PpoLossPart part = PpoLoss(in, {}, 20);
    const at::Tensor loss = TotalLoss(part.terms);
    loss.backward();
    losses.push_back(loss.detach().cpu());
    gradients.push_back(at::stack({in.log_probs.grad(), in.values.grad()}).cpu());
    EXPECT_EQ(part.sums.device(), device);
    sums.push_back(part.sums.cpu());
    EXPECT_EQ(FinishPpoStatistics(part.sums, {}).tokens, 11);
  }
  EXPECT_TRUE(AreNear(losses[1], losses[0]));
  EXPECT_TRUE(AreNear(gradients[1], gradients[0]));
  EXPECT_TRUE(AreNear(sums[1], sums[0]));
}

TEST(DeviceObjectiveTest, SftLoss_TermAndSums) {
  for (const bool masked : {true, false}) {
    std::vector<at::Tensor> sums;
    for (const at::Device& device : Devices()) {
      const at::Tensor x = Numbers(1).to(device);
      const SftLossPart part = SftTokenLoss(x, masked ? Mask().to(device) : at::Tensor(),
                                            Numbers(2).to(device), Numbers(3).to(device) > 0, 20);
      EXPECT_EQ(part.term.sum.device(), device);
      EXPECT_EQ(part.sums.device(), device);
      sums.push_back(part.sums.cpu());
      EXPECT_EQ(FinishSftStatistics(part.sums).tokens, masked ? 11 : 15);
    }
    EXPECT_TRUE(AreNear(sums[1], sums[0]));
  }
}

TEST(DeviceObjectiveTest, StepStatisticsAndScores) {
  std::vector<PpoStepStatistics> found;
  for (const at::Device& device : Devices()) {
    PpoStepInputs in;
    in.scores = Numbers(1, 1, 3)[0].to(device);
    in.log_probs = Numbers(2).to(device);
    in.ref_log_probs = Numbers(3).to(device);
    in.mask = Mask().to(device);
    in.non_score_rewards = Numbers(4).to(device);
    in.query_lengths = at::arange(3).to(device);
    in.response_lengths = at::arange(3).to(device) + 2;
    found.push_back(SummarizePpoStep(in, {}));
  }
  ExpectNear(found[1].scalars, found[0].scalars);
  ExpectNearOnBoth([](const at::Device& device) {
    RunningMoments moments;
    return ScaleScores(Numbers(1, 1, 7)[0].to(device), {true, true, 1.0}, &moments);
  });
}

TEST(DeviceObjectiveTest, TokenLogProbs_WithGradients) {
  const auto loss = [](const at::Tensor& logits) {
    const at::Tensor labels = at::arange(3).to(logits.device());
    return SelectedLogProbs(logits, labels).sum() + Entropy(logits).square().sum() +
           FullLogProbs(logits).square().sum();
  };
  ExpectNearOnBoth([&](const at::Device& device) {
    const at::Tensor logits = Numbers(1).to(device).detach().set_requires_grad(true);
    loss(logits).backward();
    return logits.grad();
  });
}

}  // namespace
}  // namespace retort::objective
