#include "common/model/vocab_head.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "common/model/composite.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

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
    {"small", 7, 16, 15, {}},
    {"limit and temperature", 9, 8, 37, {0.7, 0, {30, {}}}},
    {"many rows", 200, 8, 200, {1.6, 0, {}}},
    {"bias", 5, 12, 70, {0.9, 0, {}}, true},
    {"soft cap", 6, 12, 530, {1.3, 2.0, {}}},
    {"excluded", 8, 12, 600, {1.0, 0, {590, {0, 3, 511, 512, 589}}}},
    {"everything", 11, 300, 2500, {0.8, 3.0, {2400, {7, 600, 2047, 2048}}}, true},
};

struct Problem {
  at::Tensor hidden, weight, bias, targets;

  explicit Problem(const Case& c)
      : hidden(at::randn({c.rows, c.width})), weight(at::randn({c.vocab, c.width}) * 0.3) {
    if (c.bias) bias = at::randn({c.vocab});
    const int64_t limit = c.options.mask.limit == 0 ? c.vocab : c.options.mask.limit;
    targets = at::randint(limit, {c.rows}, at::kLong);
    const std::vector<int64_t>& excluded = c.options.mask.excluded;
    for (int64_t r = 0; r < c.rows; ++r) {  // The next id that exists.
      int64_t id = targets[r].item<int64_t>();
      while (std::find(excluded.begin(), excluded.end(), id) != excluded.end()) {
        id = (id + 1) % limit;
      }
      targets[r] = id;
    }
  }
};

// log p of all ids, -inf where masked, in float64.
at::Tensor Composite(const Case& c, const at::Tensor& h, const at::Tensor& w, const at::Tensor& b) {
  at::Tensor z = at::matmul(h, w.t());
  if (b.defined()) z = z + b;
  if (c.options.soft_cap > 0) z = c.options.soft_cap * at::tanh(z / c.options.soft_cap);
  at::Tensor gone = at::zeros({c.vocab}, at::kBool);
  if (c.options.mask.limit > 0) {
    gone.narrow(0, c.options.mask.limit, c.vocab - c.options.mask.limit).fill_(true);
  }
  for (const int64_t id : c.options.mask.excluded) gone[id] = true;
  return at::log_softmax((z / c.options.temperature).masked_fill(gone, -INFINITY), -1);
}

at::Tensor Entropy(const at::Tensor& log_probs) {
  const at::Tensor gone = log_probs.isinf();
  return -(log_probs.exp() * log_probs.masked_fill(gone, 0.0)).sum(-1);
}

at::Tensor Leaf(const at::Tensor& t, at::ScalarType type) {
  return t.defined() ? t.to(type).detach().clone().set_requires_grad(true) : at::Tensor();
}

TEST(VocabHeadTest, ValueAndGradients_BothOutputs_EqualComposite) {
  for (const Case& c : kCases) {
    const Problem p(c);
    const at::Tensor h = Leaf(p.hidden, at::kFloat), w = Leaf(p.weight, at::kFloat);
    const at::Tensor b = Leaf(p.bias, at::kFloat);
    const at::Tensor h64 = Leaf(p.hidden, at::kDouble), w64 = Leaf(p.weight, at::kDouble);
    const at::Tensor b64 = Leaf(p.bias, at::kDouble);
    const SelectedLogProbs got = HeadLogProbs(h, {w, b}, p.targets, c.options);
    const at::Tensor all = Composite(c, h64, w64, b64);
    const at::Tensor log_probs = all.gather(1, p.targets.unsqueeze(1)).squeeze(1);
    const at::Tensor entropy = Entropy(all);
    EXPECT_LT(Error(got.log_probs, log_probs), 5e-6) << c.name;
    EXPECT_LT(Error(got.entropy, entropy), 5e-6) << c.name;
    const at::Tensor x = at::randn({c.rows}), y = at::randn({c.rows});
    (got.log_probs * x + got.entropy * y).sum().backward();
    (log_probs * x + entropy * y).sum().backward();
    EXPECT_LT(Error(h.grad(), h64.grad()), 1e-5) << c.name;
    EXPECT_LT(Error(w.grad(), w64.grad()), 1e-5) << c.name;
    if (c.bias) {
      EXPECT_LT(Error(b.grad(), b64.grad()), 1e-5) << c.name;
    }
  }
}

TEST(VocabHeadTest, Backward_OneOutputAndOneInput_EqualsComposite) {
  const Case& c = kCases[7];
  const Problem p(c);
  for (const bool entropy : {false, true}) {
    const at::Tensor h = Leaf(p.hidden, at::kFloat), h64 = Leaf(p.hidden, at::kDouble);
    const SelectedLogProbs got = HeadLogProbs(h, {p.weight, p.bias}, p.targets, c.options);
    const at::Tensor all = Composite(c, h64, p.weight.to(at::kDouble), p.bias.to(at::kDouble));
    (entropy ? got.entropy : got.log_probs).sum().backward();
    (entropy ? Entropy(all) : all.gather(1, p.targets.unsqueeze(1)).squeeze(1)).sum().backward();
    EXPECT_LT(Error(h.grad(), h64.grad()), 1e-5) << entropy;
  }
}

// More rows than one block of derivatives holds.
TEST(VocabHeadTest, Backward_ManyBlocks_EqualsComposite) {
  const Case c{"blocks", 2100, 8, 60, {}};
  const Problem p(c);
  const at::Tensor h = Leaf(p.hidden, at::kFloat), w = Leaf(p.weight, at::kFloat);
  const at::Tensor h64 = Leaf(p.hidden, at::kDouble), w64 = Leaf(p.weight, at::kDouble);
  HeadLogProbs(h, {w, {}}, p.targets, c.options).log_probs.mean().backward();
  Composite(c, h64, w64, {}).gather(1, p.targets.unsqueeze(1)).mean().backward();
  EXPECT_LT(Error(h.grad() * c.rows, h64.grad() * c.rows), 1e-5);
  EXPECT_LT(Error(w.grad() * c.rows, w64.grad() * c.rows), 1e-3);
}

TEST(VocabHeadTest, EveryOutput_EqualsComposite) {
  for (const Case& c : kCases) {
    const Problem p(c);
    const int64_t k = std::min<int64_t>(5, c.vocab);
    at::Tensor rows = at::full({c.rows, c.vocab}, NAN);
    const HeadOutput got = HeadForward(
        p.hidden, {p.weight, p.bias}, p.targets, c.options,
        {.entropy = true,
         .argmax = true,
         .top_k = k,
         .sink = [&](int64_t row, int64_t first, absl::Span<const float> z) {
           std::copy(z.begin(), z.end(), rows.mutable_data_ptr<float>() + row * c.vocab + first);
         }});
    const at::Tensor all = Composite(c, p.hidden.to(at::kDouble), p.weight.to(at::kDouble),
                                     p.bias.defined() ? p.bias.to(at::kDouble) : at::Tensor());
    const at::Tensor top = std::get<0>(at::topk(all, k, 1));
    // Ids closer than fp32 tells apart may change places.
    EXPECT_TRUE(at::equal(got.argmax, got.top_ids.select(1, 0))) << c.name;
    EXPECT_LT(Error(all.gather(1, got.top_ids), top), 5e-6) << c.name;
    EXPECT_LT(Error(got.top_log_probs, top), 5e-6) << c.name;
    EXPECT_LT(Error(got.tail_mass, 1.0 - top.exp().sum(1)), 5e-6) << c.name;
    EXPECT_LT(Error(got.entropy, Entropy(all)), 5e-6) << c.name;
    const int64_t limit = c.options.mask.limit == 0 ? c.vocab : c.options.mask.limit;
    const at::Tensor from_sink =
        rows.narrow(1, 0, limit) / c.options.temperature - got.log_sum_exp.unsqueeze(1);
    const at::Tensor kept = all.narrow(1, 0, limit);
    EXPECT_TRUE(at::equal(from_sink.isinf(), kept.isinf())) << c.name;
    EXPECT_LT(Error(from_sink.masked_fill(kept.isinf(), 0), kept.masked_fill(kept.isinf(), 0)),
              1e-5)
        << c.name;
  }
}

TEST(VocabHeadTest, Ties_TheLowerIdFirst) {
  const at::Tensor weight = at::zeros({1500, 4});
  const HeadOutput got = HeadForward(at::randn({2, 4}), {weight, {}}, {}, {1.0, 0, {0, {0, 2}}},
                                     {.argmax = true, .top_k = 3, .sink = {}});
  EXPECT_TRUE(at::equal(got.argmax, at::tensor({1, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(got.top_ids[1], at::tensor({1, 3, 4}, at::kLong)));
  EXPECT_FALSE(got.log_probs.defined());
}

TEST(VocabHeadTest, EveryThreadCount_SameBits) {
  const Case& c = kCases[7];
  const Problem p(c);
  std::vector<at::Tensor> want;
  for (const int threads : {1, 2, 3}) {
    const tensor::ThreadCount count(threads);
    const at::Tensor h = Leaf(p.hidden, at::kFloat), w = Leaf(p.weight, at::kFloat);
    const at::Tensor b = Leaf(p.bias, at::kFloat);
    const SelectedLogProbs out = HeadLogProbs(h, {w, b}, p.targets, c.options);
    (out.log_probs + out.entropy).sum().backward();
    const std::vector<at::Tensor> got = {out.log_probs, out.entropy, h.grad(), w.grad(), b.grad()};
    if (want.empty()) want = got;
    for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], want[i])) << threads;
  }
}

TEST(VocabHeadTest, ARow_SameBitsWhateverTheOtherRows) {
  const Problem p(kCases[3]);
  const HeadWeights head{p.weight, {}};
  const at::Tensor all = HeadForward(p.hidden, head, p.targets, {}, {}).log_probs;
  for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 1}, {17, 3}, {100, 77}}) {
    const at::Tensor some =
        HeadForward(p.hidden.narrow(0, first, rows), head, p.targets.narrow(0, first, rows), {}, {})
            .log_probs;
    EXPECT_TRUE(at::equal(some, all.narrow(0, first, rows))) << first;
  }
}

TEST(VocabHeadTest, NanWeight_AnyVocabularyRow_GivesNan) {
  for (const int64_t row : {0, 3, 1100}) {
    const at::Tensor h = at::randn({2, 8});
    at::Tensor w = at::randn({1200, 8});
    w[row][1] = NAN;
    const SelectedLogProbs got = HeadLogProbs(h, {w, {}}, at::tensor({5, 6}, at::kLong), {});
    EXPECT_TRUE(got.log_probs.isnan().all().item<bool>()) << row;
  }
}

TEST(VocabHeadTest, ExcludedTarget_HasNoProbability) {
  const SelectedLogProbs got = HeadLogProbs(at::randn({1, 8}), {at::randn({20, 8}), {}},
                                            at::tensor({4}, at::kLong), {1.0, 0, {20, {4}}});
  EXPECT_EQ(got.log_probs.item<float>(), -INFINITY);
}

}  // namespace
}  // namespace retort::model
