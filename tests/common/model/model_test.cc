#include "common/model/model.h"

#include <cmath>
#include <cstring>

#include "common/model/composite.h"
#include "common/tensor/cat.h"
#include "gtest/gtest.h"
#include "testing/family_configs.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

using retort::tiny::RandomArena;
using retort::tiny::TinyConfig;
using retort::tiny::ZeroArena;

layout::ModelConfig TiedBiasedConfig() {
  layout::ModelConfig config = TinyConfig();
  config.tie_word_embeddings = true;
  config.attention.qkv_bias = config.attention.o_bias = true;
  config.mlp.bias = true;
  return config;
}

// The whole network in float64 from ATen's plain operations; every parameter is a leaf.
class CompositeModel {
 public:
  using Role = layout::ParameterRole;

  CompositeModel(const layout::ModelConfig& config, const tensor::ParameterArena& arena)
      : config_(config), layout_(arena.layout()) {
    for (const layout::ParameterEntry& entry : layout_.entries) {
      leaves_[entry.name] =
          arena.View(entry).detach().to(at::kDouble).clone().set_requires_grad(true);
    }
  }

  // Undefined if the layout has no such parameter.
  at::Tensor At(Role role, int64_t layer = -1) const {
    const layout::ParameterEntry* entry = layout_.Find(role, layer);
    return entry == nullptr ? at::Tensor() : leaves_.at(entry->name);
  }

  at::Tensor Linear(const at::Tensor& x, Role weight, Role bias, int64_t layer = -1) const {
    const at::Tensor y = at::matmul(x, At(weight, layer).t());
    return At(bias, layer).defined() ? y + At(bias, layer) : y;
  }

  at::Tensor Norm(const at::Tensor& x, Role weight, Role bias, int64_t layer = -1) const {
    const at::Tensor w = At(weight, layer);
    const double eps = config_.norm.eps;
    if (config_.norm.kind == layout::NormKind::kLayer) {
      const at::Tensor centred = x - x.mean(-1, true);
      return centred * at::rsqrt(centred.square().mean(-1, true) + eps) * w + At(bias, layer);
    }
    return CompositeNorm(x, config_.norm.add_one ? w + 1 : w, eps);
  }

  at::Tensor Attention(const at::Tensor& x, int64_t i, const PackedBatch& batch) const {
    const AttentionShape shape{config_.num_attention_heads, config_.num_key_value_heads,
                               config_.head_dim};
    const layout::LayerAttention layer = config_.layer(i);
    const AttentionRule rule{.scale = static_cast<float>(config_.attention_scale()),
                             .soft_cap = static_cast<float>(config_.attention.soft_cap),
                             .window = layer.window,
                             .rotary_dim = config_.rotary_dim(),
                             .interleaved = config_.position.interleaved};
    RopeTable table(config_.position.ropes[layer.rope], rule.rotary_dim,
                    config_.max_position_embeddings);
    const RopeAngles angles = table.Cover(config_.max_position_embeddings);
    at::Tensor qkv = Linear(x, Role::kQkv, Role::kQkvBias, i);
    if (config_.attention.qk_norm) {
      const int64_t q = shape.q_width(), kv = shape.kv_width(), d = shape.head_dim;
      const auto normed = [&](int64_t begin, int64_t width, Role role) {
        const at::Tensor heads = qkv.narrow(1, begin, width).reshape({-1, width / d, d});
        return Norm(heads, role, role, i).reshape({-1, width});
      };
      qkv = tensor::Cat(
          {normed(0, q, Role::kQNorm), normed(q, kv, Role::kKNorm), qkv.narrow(1, q + kv, kv)}, 1);
    }
    return Linear(CompositeAttention(qkv, shape, rule, angles.cos.to(at::kDouble),
                                     angles.sin.to(at::kDouble), batch.offsets),
                  Role::kO, Role::kOBias, i);
  }

  at::Tensor Mlp(const at::Tensor& x, int64_t i) const {
    const at::Tensor in = Linear(x, Role::kMlpIn, Role::kMlpInBias, i);
    const auto act = [&](const at::Tensor& y) {
      switch (config_.mlp.activation) {
        case layout::Activation::kSilu:
          return y * at::sigmoid(y);
        case layout::Activation::kGeluTanh:
          return 0.5 * y * (1 + at::tanh(std::sqrt(2 / M_PI) * (y + 0.044715 * y.pow(3))));
        case layout::Activation::kGelu:
          return 0.5 * y * (1 + at::erf(y / std::sqrt(2.0)));
        case layout::Activation::kRelu:
          return y.clamp_min(0);
      }
      return at::Tensor();
    };
    const int64_t width = config_.intermediate_size;
    const at::Tensor y =
        config_.mlp.gated ? act(in.narrow(1, 0, width)) * in.narrow(1, width, width) : act(in);
    return Linear(y, Role::kMlpOut, Role::kMlpOutBias, i);
  }

  at::Tensor Layer(at::Tensor x, int64_t i, const PackedBatch& batch) const {
    const auto n1 = [&](const at::Tensor& y) {
      return Norm(y, Role::kAttentionNorm, Role::kAttentionNormBias, i);
    };
    const auto n2 = [&](const at::Tensor& y) {
      return Norm(y, Role::kMlpNorm, Role::kMlpNormBias, i);
    };
    switch (config_.residual) {
      case layout::Residual::kPreNorm:
        x = x + Attention(n1(x), i, batch);
        return x + Mlp(n2(x), i);
      case layout::Residual::kPostNorm:
        x = n1(x + Attention(x, i, batch));
        return n2(x + Mlp(x, i));
      case layout::Residual::kSandwich:
        x = x + Norm(Attention(n1(x), i, batch), Role::kAttentionOutNorm, Role::kValueBias, i);
        return x + Norm(Mlp(n2(x), i), Role::kMlpOutNorm, Role::kValueBias, i);
      case layout::Residual::kParallel:
        return x + Attention(n1(x), i, batch) + Mlp(n2(x), i);
      case layout::Residual::kParallelOne:
        return x + Attention(n1(x), i, batch) + Mlp(n1(x), i);
    }
    return x;
  }

  at::Tensor Hidden(const PackedBatch& batch) const {
    at::Tensor x = At(Role::kEmbedding).index_select(0, batch.ids) * config_.embedding_scale;
    if (config_.projected_size != 0) x = at::matmul(x, At(Role::kProjectIn).t());
    if (At(Role::kPositions).defined()) {
      x = x +
          At(Role::kPositions).index_select(0, batch.positions + config_.position.learned_offset);
    }
    for (int64_t i = 0; i < config_.num_hidden_layers; ++i) x = Layer(x, i, batch);
    if (config_.final_norm) x = Norm(x, Role::kFinalNorm, Role::kFinalNormBias);
    return config_.projected_size == 0 ? x : at::matmul(x, At(Role::kProjectOut).t());
  }

  // Log-probs of the targets, or the scores of a sequence classification.
  at::Tensor Outputs(const at::Tensor& hidden, const at::Tensor& targets) const {
    if (At(Role::kScore).defined()) return at::matmul(hidden, At(Role::kScore).t()).squeeze(1);
    const Role head = config_.tie_word_embeddings ? Role::kEmbedding : Role::kHead;
    at::Tensor logits = Linear(hidden, head, Role::kHeadBias);
    const double cap = config_.final_soft_cap;
    if (cap > 0) logits = at::tanh(logits / cap) * cap;
    return at::log_softmax(logits, -1).gather(1, targets.unsqueeze(1)).squeeze(1);
  }

  const std::map<std::string, at::Tensor>& leaves() const { return leaves_; }

 private:
  layout::ModelConfig config_;
  layout::ParameterLayout layout_;
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

at::Tensor OutputsOf(const Model& model, const at::Tensor& hidden, const at::Tensor& targets) {
  if (model.config().task == layout::Task::kSequenceClassification) return model.Scores(hidden);
  return model.LogProbs(hidden, targets, 1.0, {model.config().vocab_size}).log_probs;
}

void ExpectEqualsComposite(const layout::ModelConfig& config, const std::string& name) {
  SCOPED_TRACE(name);
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
  const at::Tensor outputs = OutputsOf(model, hidden, targets);
  const at::Tensor outputs64 = composite.Outputs(hidden64, targets);
  EXPECT_LT(Error(outputs, outputs64), 1e-5);
  (outputs.square().sum() + model.Values(hidden).square().sum()).backward();
  const at::Tensor values64 = composite.Linear(hidden64, layout::ParameterRole::kValueWeight,
                                               layout::ParameterRole::kValueBias);
  (outputs64.square().sum() + values64.square().sum()).backward();
  for (const layout::ParameterEntry& entry : arena.layout().entries) {
    const at::Tensor want = composite.leaves().at(entry.name).grad();
    const at::Tensor got = gradients.View(entry).to(at::kDouble);
    const double norm = want.norm().item<double>();
    EXPECT_GT(norm, 0) << entry.name;
    EXPECT_LT((got - want).norm().item<double>() / norm, 2e-5) << entry.name;
  }
}

TEST(ModelTest, ForwardAndGradients_WholeNetwork_EqualComposite) {
  ExpectEqualsComposite(TinyConfig(), "tiny");
  ExpectEqualsComposite(TiedBiasedConfig(), "tied and biased");
}

TEST(ModelTest, ForwardAndGradients_EveryFamily_EqualComposite) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    ExpectEqualsComposite(tiny::ConfigOf(family), family.name);
  }
}

TEST(ModelTest, LogProbs_BiasAndSoftCap_EntropyAndLimit) {
  for (const char* name : {"gemma2", "gptj"}) {
    for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
      if (std::string(family.name) != name) continue;
      const layout::ModelConfig config = tiny::ConfigOf(family);
      const Model model(config, RandomArena(config, false));
      const PackedBatch batch = Pack({{1, 2, 3, 4}});
      const at::Tensor hidden = model.Hidden(batch);
      const SelectedLogProbs got = model.LogProbs(hidden, batch.ids, 0.7, {30});
      const at::Tensor kept = model.Logits(hidden).narrow(1, 0, 30).to(at::kDouble) / 0.7;
      const at::Tensor log_probs = at::log_softmax(kept, 1);
      EXPECT_LT(Error(got.log_probs, log_probs.gather(1, batch.ids.unsqueeze(1)).squeeze(1)), 1e-6);
      EXPECT_LT(Error(got.entropy, -(log_probs.exp() * log_probs).sum(1)), 1e-6);
    }
  }
}

TEST(ModelTest, Packed_EveryFamily_EqualsEverySequenceAlone) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const Model model(config, RandomArena(config, false));
    const auto sequences = Ragged(config);
    const PackedBatch batch = Pack(sequences);
    const at::Tensor packed = model.Hidden(batch);
    for (size_t i = 0; i < sequences.size(); ++i) {
      const at::Tensor rows =
          packed.narrow(0, batch.offsets[i], batch.offsets[i + 1] - batch.offsets[i]);
      EXPECT_LT(Error(rows, model.Hidden(Pack({sequences[i]}))), 5e-6) << family.name << " " << i;
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

TEST(ModelTest, LogProbsAndFull_SameTemperatureAndMask_Agree) {
  const layout::ModelConfig config = TinyConfig();
  const Model model(config, RandomArena(config, false));
  const PackedBatch batch = Pack({{1, 2, 3, 4}});
  const at::Tensor hidden = model.Hidden(batch);
  const VocabMask mask = {30, {5, 29}};
  const at::Tensor full = model.FullLogProbs(hidden, 0.7, mask);
  const at::Tensor selected = model.LogProbs(hidden, batch.ids, 0.7, mask).log_probs;
  EXPECT_LT(Error(selected, full.gather(1, batch.ids.unsqueeze(1)).squeeze(1)), 1e-6);
  for (const int64_t id : {5, 29, 30, 36}) EXPECT_TRUE(std::isinf(full[0][id].item<float>())) << id;
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
