#include "common/model/portable_vocab_head.h"

#include <cmath>
#include <vector>

#include "common/model/composite.h"
#include "common/model/head_logits.h"
#include "gtest/gtest.h"
#include "testing/test_device.h"

namespace retort::model {
namespace {

struct Case {
  const char* name;
  int64_t rows, width, vocab;
  HeadOptions options;
  bool bias = false;
};

const Case kCases[] = {
    {"one id", 1, 4, 1, {}},
    {"no row", 0, 4, 7, {}},
    {"limit and temperature", 9, 8, 37, {0.7, 0, {30, {}}}},
    {"several chunks", 1100, 8, 50, {1.6, 0, {}}},
    {"bias", 5, 12, 70, {0.9, 0, {}}, true},
    {"soft cap", 6, 12, 530, {1.3, 2.0, {}}},
    {"excluded", 8, 12, 600, {1.0, 0, {590, {0, 3, 511, 512, 589}}}},
    {"everything", 11, 300, 2500, {0.8, 3.0, {2400, {7, 600, 2047, 2048}}}, true},
};

struct Problem {
  at::Tensor hidden, targets;
  HeadWeights head;

  explicit Problem(const Case& c)
      : hidden(at::randn({c.rows, c.width})),
        targets((at::arange(c.rows) * 31 + 5).remainder(c.vocab).to(at::kLong)),
        head{at::randn({c.vocab, c.width}) * 0.3, {}} {
    const VocabMask mask = {c.options.mask.limit == 0 ? c.vocab : c.options.mask.limit,
                            c.options.mask.excluded};
    for (int64_t r = 0; r < c.rows; ++r) {
      int64_t id = targets[r].item<int64_t>();
      while (!mask.Contains(id)) id = (id + 1) % c.vocab;
      targets[r] = id;
    }
    if (c.bias) head.bias = at::randn({c.vocab});
  }
};

at::Tensor Leaf(const at::Tensor& t, const at::Device& device, at::ScalarType type) {
  return t.defined() ? t.to(device, type).detach().clone().set_requires_grad(true) : at::Tensor();
}

// log-probs, entropy, and the derivatives of random sums of them (or of one of them).
struct Results {
  at::Tensor log_probs, entropy, hidden, weight, bias;
};

Results Evaluate(const Case& c, const Problem& p, const at::Device& device,
                 at::ScalarType type = at::kFloat, double of_log_probs = 1, double of_entropy = 1) {
  const at::Tensor h = Leaf(p.hidden, device, type), w = Leaf(p.head.weight, device, type);
  const at::Tensor b = Leaf(p.head.bias, device, type);
  const SelectedLogProbs out = HeadLogProbs(h, {w, b}, p.targets, c.options);
  const at::Tensor factor = (at::arange(c.rows, at::kFloat) * 0.7).sin().to(device);
  at::Tensor loss;
  if (of_log_probs != 0) loss = (out.log_probs * factor).sum();
  if (of_entropy != 0) {
    const at::Tensor part = (out.entropy * factor.square()).sum() * 2;
    loss = loss.defined() ? loss + part : part;
  }
  loss.backward();
  const auto host = [](const at::Tensor& t) { return t.defined() ? t.cpu() : t; };
  return {out.log_probs.detach().cpu(), out.entropy.detach().cpu(), h.grad().cpu(), w.grad().cpu(),
          b.defined() ? host(b.grad()) : b};
}

void ExpectClose(const Results& got, const Results& want, double tolerance, const char* name) {
  if (want.log_probs.numel() == 0) {
    EXPECT_EQ(got.log_probs.numel(), 0) << name;
    return;
  }
  EXPECT_LT(Error(got.log_probs, want.log_probs), tolerance) << name;
  EXPECT_LT(Error(got.entropy, want.entropy), tolerance) << name;
  EXPECT_LT(Error(got.hidden, want.hidden), tolerance) << name;
  EXPECT_LT(Error(got.weight, want.weight), tolerance) << name;
  if (!want.bias.defined()) return;
  EXPECT_LT(Error(got.bias, want.bias), tolerance) << name;
}

TEST(PortableVocabHeadTest, ValueAndGradients_OnTheDevice_EqualTheCpus) {
  for (const Case& c : kCases) {
    const Problem p(c);
    const Results want = Evaluate(c, p, at::kCPU);
    ExpectClose(Evaluate(c, p, TestDevice()), want, 1e-5, c.name);
  }
}

TEST(PortableVocabHeadTest, OneOutputOnly_GradientsEqualTheCpus) {
  const Case& c = kCases[7];
  const Problem p(c);
  for (const bool entropy : {false, true}) {
    const Results want = Evaluate(c, p, at::kCPU, at::kFloat, !entropy, entropy);
    ExpectClose(Evaluate(c, p, TestDevice(), at::kFloat, !entropy, entropy), want, 1e-5,
                entropy ? "entropy" : "log-probs");
  }
}

TEST(PortableVocabHeadTest, Bf16_NearTheWidened) {
  for (const Case& c : kCases) {
    if (c.rows == 0) continue;
    Problem p(c);
    const Results half = Evaluate(c, p, TestDevice(), at::kBFloat16);
    EXPECT_EQ(half.log_probs.scalar_type(), at::kFloat);
    EXPECT_EQ(half.weight.scalar_type(), at::kBFloat16);
    const auto round = [](at::Tensor& t) {
      if (t.defined()) t = t.to(at::kBFloat16).to(at::kFloat);
    };
    round(p.hidden), round(p.head.weight), round(p.head.bias);
    const Results want = Evaluate(c, p, at::kCPU);
    // Products of bf16 are exact in fp32: values are as near as those of fp32.
    EXPECT_LT(Error(half.log_probs, want.log_probs), 1e-5) << c.name;
    EXPECT_LT(Error(half.entropy, want.entropy), 1e-5) << c.name;
    // Derivatives are rounded before they are multiplied, and sums over many rows cancel.
    EXPECT_LT(Error(half.hidden, want.hidden), 3e-2) << c.name;
    EXPECT_LT(Error(half.weight, want.weight), 3e-2) << c.name;
  }
}

TEST(PortableVocabHeadTest, Forward_EverythingWanted_EqualsTheCpus) {
  for (const Case& c : kCases) {
    if (c.rows == 0) continue;
    const Problem p(c);
    const int64_t k = std::min<int64_t>(5, c.vocab);
    const auto run = [&](const at::Device& device, std::vector<float>* told) {
      told->assign(c.rows * c.vocab, 0.0f);
      HeadWants wants{.entropy = true, .argmax = true, .top_k = k, .sink = {}};
      wants.sink = [&](int64_t row, int64_t first, absl::Span<const float> z) {
        std::copy(z.begin(), z.end(), told->begin() + row * c.vocab + first);
      };
      const HeadWeights head{p.head.weight.to(device),
                             c.bias ? p.head.bias.to(device) : at::Tensor()};
      return HeadForward(p.hidden.to(device), head, p.targets, c.options, wants);
    };
    std::vector<float> told, want_told;
    const HeadOutput want = run(at::kCPU, &want_told);
    const HeadOutput got = run(TestDevice(), &told);
    EXPECT_TRUE(at::equal(got.argmax.cpu(), want.argmax)) << c.name;
    EXPECT_TRUE(at::equal(got.top_ids.cpu(), want.top_ids)) << c.name;
    EXPECT_LT(Error(got.log_probs.cpu(), want.log_probs), 1e-5) << c.name;
    EXPECT_LT(Error(got.log_sum_exp.cpu(), want.log_sum_exp), 1e-5) << c.name;
    EXPECT_LT(Error(got.entropy.cpu(), want.entropy), 1e-5) << c.name;
    EXPECT_LT(Error(got.top_log_probs.cpu(), want.top_log_probs), 1e-5) << c.name;
    EXPECT_LT(Error(got.tail_mass.cpu(), want.tail_mass), 1e-6) << c.name;
    for (size_t i = 0; i < told.size(); ++i) {
      if (std::isinf(want_told[i])) {
        EXPECT_EQ(told[i], want_told[i]) << c.name << " " << i;
      } else {
        EXPECT_NEAR(told[i], want_told[i], 1e-5 * (1 + std::abs(want_told[i]))) << c.name << i;
      }
    }
  }
}

TEST(PortableVocabHeadTest, TopAndArgmax_AmongEquals_LowestIdFirst) {
  const at::Tensor hidden = at::ones({1, 2}).to(TestDevice());
  const at::Tensor weight = at::tensor({1.0f, 3.0f, 2.0f, 3.0f, 3.0f}).unsqueeze(1).expand({5, 2});
  const HeadOutput out = HeadForward(hidden, {weight.contiguous().to(TestDevice()), {}}, {}, {},
                                     {.entropy = false, .argmax = true, .top_k = 4, .sink = {}});
  EXPECT_EQ(out.argmax.item<int64_t>(), 1);
  EXPECT_TRUE(at::equal(out.top_ids.cpu().squeeze(0), at::tensor({1, 3, 4, 2}, at::kLong)));
}

TEST(PortableVocabHeadTest, ExcludedTarget_LogProbIsMinusInfinity) {
  const at::Tensor hidden = at::randn({2, 3}).to(TestDevice());
  const at::Tensor weight = at::randn({6, 3}).to(TestDevice());
  const at::Tensor log_probs =
      HeadLogProbs(hidden, {weight, {}}, at::tensor({2, 3}, at::kLong), {1.0, 0, {6, {3}}})
          .log_probs.cpu();
  EXPECT_TRUE(std::isfinite(log_probs[0].item<float>()));
  EXPECT_EQ(log_probs[1].item<float>(), -INFINITY);
}

TEST(HeadLogitsTest, Bf16_ValueIsFp32AndGradientsNearTheWidened) {
  const at::Tensor x = at::randn({5, 40}).to(at::kBFloat16),
                   w = at::randn({9, 40}).to(at::kBFloat16);
  const at::Tensor b = at::randn({9}).to(at::kBFloat16), seed = at::randn({5, 9});
  const auto run = [&](const at::Device& device, at::ScalarType type) {
    std::vector<at::Tensor> leaves;
    for (const at::Tensor& t : {x, w, b}) leaves.push_back(Leaf(t, device, type));
    const at::Tensor y = HeadLogits(leaves[0], {leaves[1], leaves[2]});
    y.backward(seed.to(device));
    return std::vector<at::Tensor>{y.detach(), leaves[0].grad(), leaves[1].grad(),
                                   leaves[2].grad()};
  };
  const std::vector<at::Tensor> want = run(at::kCPU, at::kFloat);
  const std::vector<at::Tensor> got = run(TestDevice(), at::kBFloat16);
  EXPECT_EQ(got[0].scalar_type(), at::kFloat);
  EXPECT_LT(Error(got[0].cpu(), want[0]), 1e-6);
  for (int i = 1; i < 4; ++i) EXPECT_LT(Error(got[i].cpu(), want[i]), 4e-2) << i;
}

}  // namespace
}  // namespace retort::model
