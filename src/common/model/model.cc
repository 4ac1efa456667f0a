#include "common/model/model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/model/log_prob.h"
#include "common/model/ops.h"
#include "common/model/rope.h"
#include "common/tensor/torch_process.h"

namespace retort::model {
namespace {

constexpr int64_t kCanaryTokens = 16;
constexpr int64_t kCanaryStride = 7919;

}  // namespace

Model::Model(layout::ModelConfig config, const tensor::ParameterArena& arena)
    : config_(std::move(config)),
      layout_(arena.layout()),
      rope_(std::make_unique<RopeTable>(config_.rope, config_.head_dim,
                                        config_.max_position_embeddings)) {
  for (const layout::ParameterEntry& entry : layout_.entries) {
    parameters_.push_back(arena.View(entry));
  }
  BindViews();
}

Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

void Model::AttachGradients(const tensor::ParameterArena& gradients) {
  RETORT_CHECK(gradients.layout().total_elements == layout_.total_elements) << "another layout";
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i] = parameters_[i].detach().set_requires_grad(true);
    parameters_[i].mutable_grad() = gradients.View(layout_.entries[i]);
  }
  BindViews();
}

void Model::BindViews() {
  const auto find = [this](const std::string& name) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (layout_.entries[i].name == name) return parameters_[i];
    }
    return at::Tensor();
  };
  embedding_ = find("model.embed_tokens.weight");
  final_norm_ = find("model.norm.weight");
  head_ = config_.tie_word_embeddings ? embedding_ : find("lm_head.weight");
  value_weight_ = find(layout::kValueHeadWeight);
  value_bias_ = find(layout::kValueHeadBias);
  RETORT_CHECK(embedding_.defined() && final_norm_.defined() && head_.defined())
      << "the layout is not of this config";
  layers_.assign(config_.num_hidden_layers, {});
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    LayerWeights& w = layers_[i];
    w.input_norm = find(prefix + "input_layernorm.weight");
    w.qkv = find(prefix + "self_attn.qkv_proj.weight");
    w.qkv_bias = find(prefix + "self_attn.qkv_proj.bias");
    w.o = find(prefix + "self_attn.o_proj.weight");
    w.o_bias = find(prefix + "self_attn.o_proj.bias");
    w.post_norm = find(prefix + "post_attention_layernorm.weight");
    w.gate_up = find(prefix + "mlp.gate_up_proj.weight");
    w.gate_up_bias = find(prefix + "mlp.gate_up_proj.bias");
    w.down = find(prefix + "mlp.down_proj.weight");
    w.down_bias = find(prefix + "mlp.down_proj.bias");
  }
}

AttentionShape Model::attention_shape() const {
  return {config_.num_attention_heads, config_.num_key_value_heads, config_.head_dim};
}

at::Tensor Model::Layer(const LayerWeights& weights, const at::Tensor& x, const PackedBatch& batch,
                        const RopeAngles& angles) const {
  const auto bias = [](const at::Tensor& t) {
    return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt;
  };
  const double eps = config_.rms_norm_eps;
  const at::Tensor qkv =
      at::linear(RmsNorm(x, weights.input_norm, eps), weights.qkv, bias(weights.qkv_bias));
  const at::Tensor attended =
      RopeAttention(qkv, attention_shape(), angles, batch.positions, batch.offsets);
  const at::Tensor middle = x + at::linear(attended, weights.o, bias(weights.o_bias));
  const at::Tensor gate_up = at::linear(RmsNorm(middle, weights.post_norm, eps), weights.gate_up,
                                        bias(weights.gate_up_bias));
  return middle + at::linear(SwiGlu(gate_up), weights.down, bias(weights.down_bias));
}

at::Tensor Model::Hidden(const PackedBatch& batch) const {
  int64_t longest = 0;
  for (int64_t s = 0; s < batch.segments(); ++s) {
    longest = std::max(longest, batch.offsets[s + 1] - batch.offsets[s]);
  }
  const RopeAngles& angles = rope_->Cover(longest);
  const int64_t* positions = batch.positions.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    RETORT_CHECK(positions[i] >= 0 && positions[i] < longest) << "position " << positions[i];
  }
  at::Tensor x = at::embedding(embedding_, batch.ids);
  for (const LayerWeights& weights : layers_) x = Layer(weights, x, batch, angles);
  return RmsNorm(x, final_norm_, config_.rms_norm_eps);
}

SelectedLogProbs Model::LogProbs(const at::Tensor& hidden, const at::Tensor& targets,
                                 double temperature, int64_t vocab_limit) const {
  return LogProbsOf(hidden, head_, targets, temperature, vocab_limit);
}

at::Tensor Model::FullLogProbs(const at::Tensor& hidden, double temperature,
                               int64_t vocab_limit) const {
  at::Tensor logits = Logits(hidden);
  if (temperature != 1.0) logits = logits / temperature;
  if (vocab_limit < config_.vocab_size) {
    const at::Tensor excluded = at::arange(config_.vocab_size, at::kLong) >= vocab_limit;
    logits = logits.masked_fill(excluded, -std::numeric_limits<double>::infinity());
  }
  return at::log_softmax(logits, -1);
}

at::Tensor Model::Logits(const at::Tensor& hidden) const { return at::linear(hidden, head_); }

at::Tensor Model::Values(const at::Tensor& hidden) const {
  RETORT_CHECK(value_weight_.defined()) << "the layout has no value head";
  return at::linear(hidden, value_weight_, value_bias_).squeeze(1);
}

absl::StatusOr<std::vector<float>> Canary(const Model& model) {
  return tensor::CatchTorch([&] {
    const tensor::ThreadCount one(1);
    const at::NoGradGuard no_grad;
    const int64_t vocab = model.config().vocab_size;
    const int64_t count = std::min(kCanaryTokens, model.config().max_position_embeddings);
    std::vector<int64_t> ids(count);
    for (int64_t i = 0; i < count; ++i) ids[i] = (i * kCanaryStride + 1) % vocab;
    const PackedBatch batch = Pack({ids});
    const at::Tensor hidden = model.Hidden(batch);
    const at::Tensor log_probs =
        model
            .LogProbs(hidden.narrow(0, 0, count - 1), batch.ids.narrow(0, 1, count - 1), 1.0, vocab)
            .log_probs;
    const float* data = log_probs.const_data_ptr<float>();
    return std::vector<float>(data, data + count - 1);
  });
}

}  // namespace retort::model
