// Steps that train an adapter: what PEFT's arithmetic gives, on any number of ranks, and a base
// that nobody touches.
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "worker/learner/ppo_step.h"
#include "worker/learner/rank_fixture.h"
#include "worker/learner/sft_step.h"
#include "worker/learner/trainer_checkpoint.h"

namespace retort::worker {
namespace {

constexpr char kRows[] =
    "{\"prompt\":\"12=\",\"answer\":\"3\"}\n{\"prompt\":\"12+34+56=\",\"answer\":\"102\"}\n"
    "{\"prompt\":\"a=\",\"answer\":\"abcdefghij\"}\n{\"prompt\":\"9=\",\"answer\":\"\"}\n";

// A parameter of its own with AdamW's state, in float64.
struct Recomputed {
  at::Tensor value, mean, square;

  explicit Recomputed(const at::Tensor& start)
      : value(start.to(at::kDouble)), mean(at::zeros_like(value)), square(mean.clone()) {}

  void Update(const at::Tensor& gradient, int64_t step, const v1::OptimizerSpec& o) {
    const double t = static_cast<double>(step);
    mean = o.beta1() * mean + (1 - o.beta1()) * gradient;
    square = o.beta2() * square + (1 - o.beta2()) * gradient * gradient;
    const at::Tensor m = mean / (1 - std::pow(o.beta1(), t));
    const at::Tensor v = square / (1 - std::pow(o.beta2(), t));
    value = value * (1 - o.learning_rate() * o.weight_decay()) -
            o.learning_rate() * m / (v.sqrt() + o.eps());
  }
};

class LoraStepTest : public testing::Test {
 protected:
  LoraStepTest() {
    v1::OptimizerSpec& optimizer = *ppo_.mutable_optimizer();
    optimizer.set_learning_rate(1e-2);
    optimizer.set_weight_decay(0.1);
    optimizer.set_eps(1e-3);  // A gradient near 0 must not decide which way a weight goes.
    optimizer.set_max_grad_norm(0.5);
    sft_ = ppo_;
    sft_.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT);
    auto dataset = data::Dataset::Parse(kRows, "rows");
    RETORT_CHECK(dataset.ok()) << dataset.status();
    auto rows = EncodeSftRows(text_, *dataset, {0, 1, 2, 3});
    RETORT_CHECK(rows.ok()) << rows.status();
    rows_ = *std::move(rows);
  }

  static PolicyModel Adapted(uint64_t base_seed = 1, int64_t rank = 3) {
    auto policy =
        PolicyModel::Adapted(tiny::TinyConfig(), tiny::TinyAdapter(rank),
                             tiny::RandomArena(tiny::TinyConfig(), /*value_head=*/true, base_seed));
    RETORT_CHECK(policy.ok()) << policy.status();
    return *std::move(policy);
  }
  // Neither A nor B is zero: both have gradients.
  tensor::ParameterArena Start(bool value_head) const {
    return tiny::RandomOver(policy_.TrainedLayout(value_head), 5);
  }
  void OnAdapterRanks(int world_size, const v1::JobSpec& spec,
                      const std::function<void(Rank&)>& body) {
    OnRanks(world_size, spec, text_, policy_, Start(HasValueHead(spec)), body);
  }
  // Gradients of the merged matrices, which are trained as a model of their own.
  tensor::ParameterArena DenseGradients(const tensor::ParameterArena& trained) {
    const auto merged = policy_.Merge(trained);
    RETORT_CHECK(merged.ok()) << merged.status();
    tensor::ParameterArena gradients = tiny::ZeroArena(policy_.config(), false);
    OnRanks(1, sft_, text_, PolicyModel(policy_.config()), *merged, [&](Rank& rank) {
      rank.model->gradients.flat().zero_();
      const auto sums = AccumulateSftGradient(rank.context, rows_);
      ASSERT_TRUE(sums.ok()) << sums.status();
      gradients.flat().copy_(rank.model->gradients.flat());
    });
    return gradients;
  }
  absl::StatusOr<StepOutcome> Step(Rank& rank, const checkpoint::TrainerState& state) {
    StepClock clock;
    if (!HasValueHead(*rank.context.spec)) return RunSftStep(rank.context, rows_, state, &clock);
    return RunPpoStep(rank.context, PpoSettingsOf(ppo_), RandomSamples(ppo_, text_, state.step),
                      state, &clock);
  }
  // Digest of all state after three steps.
  Digest Train(int world_size, const v1::JobSpec& spec, int64_t micro_batch_tokens,
               at::Tensor* parameters = nullptr) {
    v1::JobSpec changed = spec;
    changed.mutable_optimizer()->set_micro_batch_tokens(micro_batch_tokens);
    std::vector<Digest> digests(world_size);
    OnAdapterRanks(world_size, changed, [&](Rank& rank) {
      checkpoint::TrainerState state;
      state.kl_coef = 0.2;
      for (int step = 0; step < 3; ++step) {
        const auto outcome = Step(rank, state);
        ASSERT_TRUE(outcome.ok()) << outcome.status();
        ASSERT_FALSE(outcome->bad) << outcome->why;
        state = outcome->state;
      }
      digests[rank.group->rank()] = StateDigest(*rank.model, state);
      if (parameters != nullptr && rank.group->rank() == 0) {
        *parameters = rank.model->parameters.flat().clone();
      }
    });
    for (const Digest& digest : digests) EXPECT_EQ(digest, digests[0]);
    return digests[0];
  }

  const PolicyText text_ = tiny::TinyPolicy();
  const PolicyModel policy_ = Adapted();
  v1::JobSpec ppo_ = tiny::TinyPpoSpec(/*prompts=*/8, /*samples_per_prompt=*/2);
  v1::JobSpec sft_;
  SftRows rows_;
};

// PEFT trains A and B of W + scale B A with AdamW, decayed like any matrix: dL/dA = scale B^T dL/dW
// and dL/dB = scale dL/dW A^T, clipped by their common norm.
TEST_F(LoraStepTest, Sft_ThreeSteps_EqualTheMergedMatricesChainRule) {
  const auto layout = layout::AdapterLayoutFor(policy_.config(), policy_.adapter(), false);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const tensor::ParameterArena want = tiny::RandomOver(layout->parameters, 5);
  std::vector<Recomputed> parameters;
  for (const layout::ParameterEntry& entry : layout->parameters.entries) {
    parameters.emplace_back(want.View(entry));
  }
  OnAdapterRanks(1, sft_, [&](Rank& rank) {
    const at::Tensor start = rank.model->parameters.flat().clone();
    checkpoint::TrainerState state;
    for (int64_t step = 1; step <= 3; ++step) {
      const tensor::ParameterArena dense = DenseGradients(want);
      std::vector<at::Tensor> gradients(parameters.size());
      double squares = 0;
      for (const layout::AdapterTarget& t : layout->targets) {
        const at::Tensor dw = dense.View(*dense.layout().Find(t.role, t.layer))
                                  .narrow(0, t.row, t.rows)
                                  .to(at::kDouble);
        gradients[t.a] = layout->scale * at::matmul(parameters[t.b].value.t(), dw);
        gradients[t.b] = layout->scale * at::matmul(dw, parameters[t.a].value.t());
        for (const size_t i : {t.a, t.b}) squares += gradients[i].square().sum().item<double>();
      }
      const double norm = std::sqrt(squares);
      ASSERT_GT(norm, sft_.optimizer().max_grad_norm());  // Else clipping would not be seen.
      for (size_t i = 0; i < parameters.size(); ++i) {
        parameters[i].Update(gradients[i] * (sft_.optimizer().max_grad_norm() / (norm + 1e-6)),
                             step, sft_.optimizer());
        want.View(layout->parameters.entries[i]).copy_(parameters[i].value);
      }
      const auto outcome = Step(rank, state);
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      state = outcome->state;
      EXPECT_NEAR(outcome->record.scalars().at("grad_norm"), norm, 1e-4 * norm);
      const at::Tensor got = rank.model->parameters.flat();
      EXPECT_LT((got - want.flat()).abs().max().item<double>(), 2e-5) << step;
    }
    EXPECT_GT((rank.model->parameters.flat() - start).abs().max().item<double>(), 5e-3);
  });
}

TEST_F(LoraStepTest, Train_EitherMethod_BaseUntouchedAndSharedWithTheReference) {
  const at::Tensor before = policy_.base().flat().clone();
  const model::Model reference(policy_.config(), policy_.base());
  for (const v1::JobSpec* spec : {&sft_, &ppo_}) {
    OnAdapterRanks(2, *spec, [&](Rank& rank) {
      EXPECT_EQ(rank.model->model.layers()[0].qkv.weight.data_ptr(),
                reference.layers()[0].qkv.weight.data_ptr());
      EXPECT_EQ(rank.model->parameters.flat().numel(), rank.model->exp_avg.flat().numel());
      EXPECT_LT(rank.model->parameters.flat().numel(), before.numel() / 4);
      const tensor::ParameterArena start = Start(HasValueHead(*spec));
      checkpoint::TrainerState state;
      state.kl_coef = 0.2;
      ASSERT_TRUE(Step(rank, state).ok());
      for (const layout::ParameterEntry& entry : start.layout().entries) {
        EXPECT_FALSE(at::equal(rank.model->parameters.View(entry), start.View(entry)))
            << entry.name;
      }
    });
    EXPECT_TRUE(at::equal(policy_.base().flat(), before));
  }
}

TEST_F(LoraStepTest, Train_Twice_SameBits) {
  for (const v1::JobSpec* spec : {&sft_, &ppo_}) {
    EXPECT_EQ(Train(2, *spec, 64), Train(2, *spec, 64));
  }
}

TEST_F(LoraStepTest, Train_WorldSizeAndMicroBatch_SameWeightsButForRounding) {
  for (const v1::JobSpec* spec : {&sft_, &ppo_}) {
    at::Tensor want, got;
    Train(1, *spec, 1 << 20, &want);
    const at::Tensor change = want - Start(HasValueHead(*spec)).flat();
    for (const int64_t tokens : {20, 64}) {
      Train(2, *spec, tokens, &got);
      EXPECT_LT((got - want).norm().item<double>(), 1e-3 * change.norm().item<double>()) << tokens;
    }
  }
}

// A checkpoint holds the adapter; over another base, or as another adapter, it is refused.
TEST_F(LoraStepTest, Checkpoint_RestoresTheAdapterOverItsBaseOnly) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/lora_step_test_", RandomHex(8));
  const Digest config = CheckpointConfigDigest(text_, policy_, true);
  EXPECT_NE(config, CheckpointConfigDigest(text_, Adapted(/*base_seed=*/2), true));
  EXPECT_NE(config, CheckpointConfigDigest(text_, Adapted(1, /*rank=*/2), true));
  EXPECT_NE(config, CheckpointConfigDigest(text_, PolicyModel(policy_.config()), true));
  Digest saved;
  checkpoint::TrainerState state;
  state.step = 9;
  OnAdapterRanks(2, ppo_, [&](Rank& rank) {
    rank.model->exp_avg.flat().fill_(0.25);
    CheckpointContents contents;
    contents.model = rank.model.get();
    contents.state = state;
    contents.state.weight_digest = DigestOfWeights(rank.model->parameters.PublishedSpan());
    contents.config_digest = config;
    const auto done =
        SaveCheckpoint({.directory = folder, .step = 9, .epoch = 1}, contents, *rank.group);
    ASSERT_TRUE(done.ok()) << done.status();
    if (rank.group->rank() == 0) saved = StateDigest(*rank.model, state);
  });
  OnRanks(1, ppo_, text_, policy_, tiny::RandomOver(policy_.TrainedLayout(true), 77),
          [&](Rank& rank) {
            const auto found = RestoreCheckpoint(folder + "/step-9", config, rank.model.get());
            ASSERT_TRUE(found.ok()) << found.status();
            EXPECT_EQ(found->manifest.total_elements, policy_.TrainedLayout(true).total_elements);
            EXPECT_EQ(StateDigest(*rank.model, found->manifest.state), saved);
            EXPECT_TRUE(absl::IsFailedPrecondition(
                RestoreCheckpoint(folder + "/step-9",
                                  CheckpointConfigDigest(text_, Adapted(2), true), rank.model.get())
                    .status()));
          });
  EXPECT_TRUE(RemoveRecursively(folder).ok());
}

}  // namespace
}  // namespace retort::worker
