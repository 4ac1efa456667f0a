#include "common/model/log_prob.h"

#include <cmath>

#include "common/model/composite.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

struct Case {
  int64_t rows, hidden, vocab, limit;
  double temperature;
};

const Case kCases[] = {
    {1, 4, 1, 1, 1.0}, {7, 16, 15, 15, 1.0}, {9, 8, 37, 30, 0.7}, {64, 8, 200, 200, 1.6}};

// log-probs and entropies from ATen's composite operations in float64.
std::pair<at::Tensor, at::Tensor> Composite(const at::Tensor& h, const at::Tensor& w,
                                            const at::Tensor& targets, const Case& c) {
  const at::Tensor logits = at::matmul(h, w.t()).narrow(1, 0, c.limit) / c.temperature;
  const at::Tensor log_probs = at::log_softmax(logits, -1);
  return {log_probs.gather(1, targets.unsqueeze(1)).squeeze(1),
          -(log_probs.exp() * log_probs).sum(-1)};
}

TEST(LogProbTest, ValueAndGradients_BothOutputs_EqualComposite) {
  for (const Case& c : kCases) {
    const at::Tensor h = at::randn({c.rows, c.hidden}).set_requires_grad(true);
    const at::Tensor w = at::randn({c.vocab, c.hidden}).set_requires_grad(true);
    const at::Tensor targets = at::randint(c.limit, {c.rows}, at::kLong);
    const at::Tensor h64 = h.detach().to(at::kDouble).set_requires_grad(true);
    const at::Tensor w64 = w.detach().to(at::kDouble).set_requires_grad(true);
    const SelectedLogProbs got = LogProbsOf(h, w, targets, c.temperature, c.limit);
    const auto [log_probs, entropy] = Composite(h64, w64, targets, c);
    EXPECT_LT(Error(got.log_probs, log_probs), 2e-6) << c.vocab;
    EXPECT_LT(Error(got.entropy, entropy), 2e-6) << c.vocab;
    const at::Tensor a = at::randn({c.rows}), b = at::randn({c.rows});
    (got.log_probs * a + got.entropy * b).sum().backward();
    (log_probs * a + entropy * b).sum().backward();
    EXPECT_LT(Error(h.grad(), h64.grad()), 5e-6) << c.vocab;
    EXPECT_LT(Error(w.grad(), w64.grad()), 5e-6) << c.vocab;
  }
}

TEST(LogProbTest, Backward_LogProbsAlone_EqualsComposite) {
  const Case c{5, 8, 20, 20, 1.0};
  const at::Tensor h = at::randn({c.rows, c.hidden}).set_requires_grad(true);
  const at::Tensor w = at::randn({c.vocab, c.hidden});
  const at::Tensor targets = at::randint(c.limit, {c.rows}, at::kLong);
  const at::Tensor h64 = h.detach().to(at::kDouble).set_requires_grad(true);
  LogProbsOf(h, w, targets, 1.0, c.limit).log_probs.sum().backward();
  Composite(h64, w.to(at::kDouble), targets, c).first.sum().backward();
  EXPECT_LT(Error(h.grad(), h64.grad()), 5e-6);
}

// More rows than one chunk of logits holds.
TEST(LogProbTest, ManyChunks_EqualComposite) {
  const Case c{40, 4, 200000, 200000, 1.0};
  const at::Tensor h = at::randn({c.rows, c.hidden}).set_requires_grad(true);
  const at::Tensor w = at::randn({c.vocab, c.hidden});
  const at::Tensor targets = at::randint(c.limit, {c.rows}, at::kLong);
  const SelectedLogProbs got = LogProbsOf(h, w, targets, 1.0, c.limit);
  const at::Tensor h64 = h.detach().to(at::kDouble).set_requires_grad(true);
  const auto [log_probs, entropy] = Composite(h64, w.to(at::kDouble), targets, c);
  EXPECT_LT(Error(got.log_probs, log_probs), 5e-6);
  got.log_probs.sum().backward();
  log_probs.sum().backward();
  // A float32 sum of 200,000 terms of about one size, whoever takes it.
  EXPECT_LT(Error(h.grad(), h64.grad()), 1e-3);
}

TEST(LogProbTest, NanWeight_AnyVocabularyRow_GivesNan) {
  for (const int64_t row : {0, 3}) {
    const at::Tensor h = at::randn({2, 8});
    at::Tensor w = at::randn({20, 8});
    w[row][1] = NAN;
    const SelectedLogProbs got = LogProbsOf(h, w, at::tensor({5, 6}, at::kLong), 1.0, 20);
    EXPECT_TRUE(got.log_probs.isnan().all().item<bool>()) << row;
  }
}

}  // namespace
}  // namespace retort::model
