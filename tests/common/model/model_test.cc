#include "common/model/model.h"

#include <cmath>
#include <cstring>

#include "common/model/composite.h"
#include "gtest/gtest.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

using retort::tiny::RandomArena;
using retort::tiny::TinyConfig;
using retort::tiny::ZeroArena;

layout::ModelConfig TiedBiasedConfig() {
  layout::ModelConfig config = TinyConfig();
  config.tie_word_embeddings = true;
  config.attention_bias = true;
  config.mlp_bias = true;
  return config;
}

// The whole network in float64 from parameters by name, each a leaf.
class CompositeModel {
 public:
  CompositeModel(const layout::ModelConfig& config, const tensor::ParameterArena& arena)
      : config_(config) {
    for (const layout::ParameterEntry& entry : arena.layout().entries) {
      leaves_[entry.name] =
          arena.View(entry).detach().to(at::kDouble).clone().set_requires_grad(true);
    }
  }

  at::Tensor Linear(const at::Tensor& x, const std::string& name) {
    const at::Tensor y = at::matmul(x, leaves_.at(name + ".weight").t());
    return leaves_.contains(name + ".bias") ? y + leaves_.at(name + ".bias") : y;
  }

  at::Tensor Hidden(const PackedBatch& batch) {
    const double eps = config_.rms_norm_eps;
    RopeTable table(config_.rope, config_.head_dim, config_.max_position_embeddings);
    const RopeAngles angles = table.Cover(config_.max_position_embeddings);
    const AttentionShape shape{config_.num_attention_heads, config_.num_key_value_heads,
                               config_.head_dim};
    at::Tensor x = leaves_.at("model.embed_tokens.weight").index_select(0, batch.ids);
    for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
      const std::string p = "model.layers." + std::to_string(i) + ".";
      const at::Tensor qkv = Linear(CompositeNorm(x, leaves_.at(p + "input_layernorm.weight"), eps),
                                    p + "self_attn.qkv_proj");
      x = x + Linear(CompositeAttention(qkv, shape, angles.cos.to(at::kDouble),
                                        angles.sin.to(at::kDouble), batch.offsets),
                     p + "self_attn.o_proj");
      const at::Tensor gate_up =
          Linear(CompositeNorm(x, leaves_.at(p + "post_attention_layernorm.weight"), eps),
                 p + "mlp.gate_up_proj");
      x = x + Linear(CompositeSwiGlu(gate_up), p + "mlp.down_proj");
    }
    return CompositeNorm(x, leaves_.at("model.norm.weight"), eps);
  }

  at::Tensor LogProbs(const at::Tensor& hidden, const at::Tensor& targets) {
    const char* head = config_.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
    return at::log_softmax(Linear(hidden, head), -1).gather(1, targets.unsqueeze(1)).squeeze(1);
  }

  const std::map<std::string, at::Tensor>& leaves() const { return leaves_; }

 private:
  layout::ModelConfig config_;
  std::map<std::string, at::Tensor> leaves_;
};

std::vector<std::vector<int64_t>> Ragged(const layout::ModelConfig& config) {
  std::vector<std::vector<int64_t>> sequences;
  for (const int64_t length : {5, 1, 12, 5}) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < length; ++i) {
      ids.push_back((7 * i + 3 * length + static_cast<int64_t>(sequences.size())) %
                    config.vocab_size);
    }
    sequences.push_back(ids);
  }
  return sequences;
}

TEST(ModelTest, ForwardAndGradients_WholeNetwork_EqualComposite) {
  for (const layout::ModelConfig& config : {TinyConfig(), TiedBiasedConfig()}) {
    const tensor::ParameterArena arena = RandomArena(config, /*value_head=*/true);
    const tensor::ParameterArena gradients = ZeroArena(config, true);
    Model model(config, arena);
    model.AttachGradients(gradients);
    CompositeModel composite(config, arena);
    const PackedBatch batch = Pack(Ragged(config));
    const at::Tensor hidden = model.Hidden(batch);
    const at::Tensor hidden64 = composite.Hidden(batch);
    EXPECT_LT(Error(hidden, hidden64), 1e-5);
    const at::Tensor targets = batch.ids.roll(1);
    (model.LogProbs(hidden, targets, 1.0, config.vocab_size).log_probs.sum() +
     model.Values(hidden).square().sum())
        .backward();
    (composite.LogProbs(hidden64, targets).sum() +
     composite.Linear(hidden64, "v_head.summary").square().sum())
        .backward();
    for (const layout::ParameterEntry& entry : arena.layout().entries) {
      const at::Tensor want = composite.leaves().at(entry.name).grad();
      const at::Tensor got = gradients.View(entry).to(at::kDouble);
      const double error = (got - want).norm().item<double>() / want.norm().item<double>();
      EXPECT_LT(error, 1e-5) << entry.name;
    }
  }
}

TEST(ModelTest, Packed_EqualsEverySequenceAlone) {
  const layout::ModelConfig config = TinyConfig();
  const Model model(config, RandomArena(config, false));
  const auto sequences = Ragged(config);
  const PackedBatch batch = Pack(sequences);
  const at::Tensor packed = model.Hidden(batch);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const at::Tensor alone = model.Hidden(Pack({sequences[i]}));
    const at::Tensor rows =
        packed.narrow(0, batch.offsets[i], batch.offsets[i + 1] - batch.offsets[i]);
    EXPECT_LT(Error(rows, alone), 2e-6) << i;
  }
}

TEST(ModelTest, AttachGradients_TwoBackwards_AddIntoTheFlatBuffer) {
  const layout::ModelConfig config = TinyConfig();
  const tensor::ParameterArena arena = RandomArena(config, true);
  const tensor::ParameterArena gradients = ZeroArena(config, true);
  Model model(config, arena);
  model.AttachGradients(gradients);
  const PackedBatch batch = Pack(Ragged(config));
  model.Values(model.Hidden(batch)).sum().backward();
  const at::Tensor once = gradients.flat().clone();
  EXPECT_GT(once.norm().item<float>(), 0.0f);
  model.Values(model.Hidden(batch)).sum().backward();
  EXPECT_TRUE(at::equal(gradients.flat(), 2 * once));
}

TEST(ModelTest, WeightsChangedInPlace_NextForwardSeesThem) {
  const layout::ModelConfig config = TinyConfig();
  const tensor::ParameterArena arena = RandomArena(config, false);
  Model model(config, arena);
  model.AttachGradients(ZeroArena(config, false));
  const PackedBatch batch = Pack({{1, 2, 3}});
  const at::Tensor before = model.Hidden(batch).detach().clone();
  arena.flat().mul_(1.5);
  EXPECT_FALSE(at::equal(before, model.Hidden(batch)));
}

TEST(ModelTest, LogProbsAndFull_SameTemperatureAndLimit_Agree) {
  const layout::ModelConfig config = TinyConfig();
  const Model model(config, RandomArena(config, false));
  const PackedBatch batch = Pack({{1, 2, 3, 4}});
  const at::Tensor hidden = model.Hidden(batch);
  const at::Tensor full = model.FullLogProbs(hidden, 0.7, 30);
  const at::Tensor selected = model.LogProbs(hidden, batch.ids, 0.7, 30).log_probs;
  EXPECT_LT(Error(selected, full.gather(1, batch.ids.unsqueeze(1)).squeeze(1)), 1e-6);
  EXPECT_TRUE(std::isinf(full[0][30].item<float>()));
  EXPECT_NEAR(full.exp().sum().item<double>(), 4.0, 1e-5);
}

TEST(ModelTest, Canary_SameWeightsEqualBits_OtherWeightsDiffer) {
  const layout::ModelConfig config = TinyConfig();
  const Model model(config, RandomArena(config, false, 1));
  const Model same(config, RandomArena(config, true, 1));
  const Model other(config, RandomArena(config, false, 2));
  const auto a = Canary(model), b = Canary(same), c = Canary(other);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ(a->size(), 15u);
  EXPECT_EQ(std::memcmp(a->data(), b->data(), a->size() * sizeof(float)), 0);
  EXPECT_NE(*a, *c);
}

}  // namespace
}  // namespace retort::model
