#include "common/model/model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/model/head_logits.h"
#include "common/model/master_weight.h"
#include "common/model/ops.h"
#include "common/model/rope.h"
#include "common/tensor/torch_process.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

constexpr int64_t kCanaryTokens = 16;
constexpr int64_t kCanaryStride = 7919;

// The matrices, whose readers widen bf16 as they go. Norms, biases and the heads of one row are
// small: in fp32, whatever the arena is.
bool StaysAsStored(const layout::ParameterEntry& entry) {
  using Role = layout::ParameterRole;
  return entry.shape.size() == 2 && entry.role != Role::kScore && entry.role != Role::kValueWeight;
}

}  // namespace

Model::Model(layout::ModelConfig config, const tensor::ParameterArena& arena)
    : config_(std::move(config)),
      device_(arena.device()),
      compute_type_(arena.device().is_cpu() ? at::kFloat : arena.type()),
      layout_(arena.layout()) {
  for (const layout::RopeConfig& rope : config_.position.ropes) {
    ropes_.emplace_back(rope, config_.rotary_dim(), config_.max_position_embeddings, device_);
  }
  for (const layout::ParameterEntry& entry : layout_.entries) {
    const at::Tensor view = arena.View(entry);
    const bool stays = StaysAsStored(entry) || !device_.is_cpu();
    parameters_.push_back(stays ? view : view.to(at::kFloat));
  }
  BindViews();
}

Model::Model(layout::ModelConfig config, const tensor::ParameterArena& arena,
             const layout::AdapterLayout& layout, const tensor::ParameterArena& adapter)
    : Model(std::move(config), arena) {
  RETORT_CHECK(adapter.device() == device_ && adapter.type() == at::kFloat)
      << "an adapter of " << at::toString(adapter.type()) << " on " << adapter.device().str();
  adapter_ = layout;
  for (const layout::ParameterEntry& entry : adapter_.parameters.entries) {
    adapter_parameters_.push_back(adapter.View(entry));
  }
  BindViews();
}

Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

void Model::AttachGradients(const tensor::ParameterArena& gradients) {
  const bool adapted = !adapter_.targets.empty();
  const layout::ParameterLayout& layout = adapted ? adapter_.parameters : layout_;
  std::vector<at::Tensor>& trained = adapted ? adapter_parameters_ : parameters_;
  RETORT_CHECK(gradients.layout().total_elements == layout.total_elements) << "another layout";
  for (const at::Tensor& parameter : trained) {
    RETORT_CHECK(parameter.scalar_type() == at::kFloat) << "weights of bf16 are not trained";
  }
  for (size_t i = 0; i < trained.size(); ++i) {
    trained[i] = trained[i].detach().set_requires_grad(true);
    trained[i].mutable_grad() = gradients.View(layout.entries[i]);
  }
  leaves_ = trained;
  BindViews();
}

void Model::AttachMasters(const tensor::ParameterArena& masters,
                          const tensor::ParameterArena& gradients) {
  RETORT_CHECK(adapter_.targets.empty() && compute_type_ == at::kBFloat16)
      << "masters of what does not compute in bf16";
  for (const tensor::ParameterArena* arena : {&masters, &gradients}) {
    RETORT_CHECK(arena->layout().total_elements == layout_.total_elements &&
                 arena->type() == at::kFloat && arena->device() == device_)
        << "another layout, type or device";
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const layout::ParameterEntry& entry = layout_.entries[i];
    at::Tensor leaf = masters.View(entry).detach().set_requires_grad(true);
    leaf.mutable_grad() = gradients.View(entry);
    leaves_.push_back(leaf);
    const at::Tensor rounded = parameters_[i];
    parameters_[i] = RoundedMaster(leaf, rounded);
    // Its uses are added up in fp32 only if each is a tensor of its own.
    const bool tied =
        config_.tie_word_embeddings && entry.role == layout::ParameterRole::kEmbedding;
    if (tied) tied_head_ = RoundedMaster(leaf, rounded);
  }
  BindViews();
}

void Model::BindViews() {
  layers_.assign(config_.num_hidden_layers, {});
  for (size_t i = 0; i < parameters_.size(); ++i) Bind(layout_.entries[i], parameters_[i]);
  if (config_.tie_word_embeddings) {
    head_.weight = tied_head_.defined() ? tied_head_ : embedding_;
  }
  BindAdapter();
  RETORT_CHECK(embedding_.defined() && (head_.weight.defined() || score_.defined()))
      << "the layout is not of this config";
}

void Model::BindAdapter() {
  using Role = layout::ParameterRole;
  project_in_.adapter.clear();
  project_out_.adapter.clear();
  for (const layout::AdapterTarget& target : adapter_.targets) {
    Projection* projection = target.role == Role::kProjectIn ? &project_in_ : &project_out_;
    if (target.layer >= 0) {
      LayerWeights& w = layers_[target.layer];
      projection = target.role == Role::kQkv     ? &w.qkv
                   : target.role == Role::kO     ? &w.o
                   : target.role == Role::kMlpIn ? &w.mlp_in
                                                 : &w.mlp_out;
    }
    projection->adapter.push_back(
        {target.row, adapter_.scale, adapter_parameters_[target.a], adapter_parameters_[target.b]});
  }
  for (size_t i = 0; i < adapter_parameters_.size(); ++i) {
    const layout::ParameterEntry& entry = adapter_.parameters.entries[i];
    if (entry.group == layout::ParameterGroup::kValueHead) Bind(entry, adapter_parameters_[i]);
  }
}

void Model::Bind(const layout::ParameterEntry& entry, const at::Tensor& view) {
  using Role = layout::ParameterRole;
  RETORT_CHECK(entry.layer < config_.num_hidden_layers) << entry.name;
  LayerWeights none;
  LayerWeights& w = entry.layer < 0 ? none : layers_[entry.layer];
  // In the order of ParameterRole.
  at::Tensor* const places[] = {&embedding_,
                                &position_table_,
                                &project_in_.weight,
                                &project_out_.weight,
                                &head_.weight,
                                &head_.bias,
                                &score_,
                                &final_norm_.weight,
                                &final_norm_.bias,
                                &w.attention_norm.weight,
                                &w.attention_norm.bias,
                                &w.attention_out_norm.weight,
                                &w.mlp_norm.weight,
                                &w.mlp_norm.bias,
                                &w.mlp_out_norm.weight,
                                &w.q_norm.weight,
                                &w.k_norm.weight,
                                &w.qkv.weight,
                                &w.qkv.bias,
                                &w.o.weight,
                                &w.o.bias,
                                &w.mlp_in.weight,
                                &w.mlp_in.bias,
                                &w.mlp_out.weight,
                                &w.mlp_out.bias,
                                &value_.weight,
                                &value_.bias};
  static_assert(std::size(places) == static_cast<size_t>(Role::kValueBias) + 1);
  *places[static_cast<size_t>(entry.role)] = view;
}

AttentionShape Model::attention_shape() const {
  return {config_.num_attention_heads, config_.num_key_value_heads, config_.head_dim};
}

AttentionRule Model::attention_rule(int64_t layer) const {
  return {.scale = static_cast<float>(config_.attention_scale()),
          .soft_cap = static_cast<float>(config_.attention.soft_cap),
          .window = config_.layer(layer).window,
          .rotary_dim = config_.rotary_dim(),
          .interleaved = config_.position.interleaved};
}

at::Tensor Model::Norm(const NormWeights& weights, const at::Tensor& x) const {
  if (config_.norm.kind == layout::NormKind::kLayer) {
    return LayerNorm(x, weights.weight, weights.bias, config_.norm.eps);
  }
  return RmsNorm(x, weights.weight, config_.norm.eps, config_.norm.add_one ? 1.0 : 0.0);
}

at::Tensor Model::Attend(int64_t layer, const at::Tensor& x, const SharedSegments& segments) const {
  const LayerWeights& w = layers_[layer];
  at::Tensor qkv = Linear(x, w.qkv);
  if (config_.attention.qk_norm) {
    qkv = QkNorm(qkv, attention_shape(), w.q_norm.weight, w.k_norm.weight, config_.norm.eps,
                 config_.norm.add_one ? 1.0 : 0.0);
  }
  // Hidden has covered the batch's positions.
  const RopeAngles& angles = Rope(1, config_.layer(layer).rope);
  return Linear(RopeAttention(qkv, attention_shape(), attention_rule(layer), angles, segments),
                w.o);
}

at::Tensor Model::Mlp(const LayerWeights& weights, const at::Tensor& x) const {
  return Linear(Activate(config_.mlp, Linear(x, weights.mlp_in)), weights.mlp_out);
}

at::Tensor Model::Layer(int64_t layer, const at::Tensor& x, const SharedSegments& segments) const {
  const LayerWeights& w = layers_[layer];
  switch (config_.residual) {
    case layout::Residual::kPreNorm: {
      const at::Tensor middle = x + Attend(layer, Norm(w.attention_norm, x), segments);
      return middle + Mlp(w, Norm(w.mlp_norm, middle));
    }
    case layout::Residual::kPostNorm: {
      const at::Tensor middle = Norm(w.attention_norm, x + Attend(layer, x, segments));
      return Norm(w.mlp_norm, middle + Mlp(w, middle));
    }
    case layout::Residual::kSandwich: {
      const at::Tensor middle =
          x + Norm(w.attention_out_norm, Attend(layer, Norm(w.attention_norm, x), segments));
      return middle + Norm(w.mlp_out_norm, Mlp(w, Norm(w.mlp_norm, middle)));
    }
    case layout::Residual::kParallel:
      return x + Attend(layer, Norm(w.attention_norm, x), segments) + Mlp(w, Norm(w.mlp_norm, x));
    case layout::Residual::kParallelOne: {
      const at::Tensor normed = Norm(w.attention_norm, x);
      return x + Attend(layer, normed, segments) + Mlp(w, normed);
    }
  }
  RETORT_CHECK(false) << "residual " << static_cast<int>(config_.residual);
}

at::Tensor Model::Embed(const PackedBatch& batch) const {
  at::Tensor x = at::embedding(embedding_, batch.ids).to(compute_type_);
  // The factor is rounded to fp32 first, as Transformers does.
  if (config_.embedding_scale != 1) x = x * static_cast<float>(config_.embedding_scale);
  if (project_in_.weight.defined()) x = Linear(x, project_in_);
  if (!position_table_.defined()) return x;
  return x + at::embedding(position_table_, batch.positions + config_.position.learned_offset)
                 .to(compute_type_);
}

at::Tensor Model::Hidden(const PackedBatch& batch, const std::function<bool()>& wanted) const {
  int64_t longest = 0;
  for (int64_t s = 0; s < batch.segments(); ++s) {
    longest = std::max(longest, batch.offsets[s + 1] - batch.offsets[s]);
  }
  for (RopeTable& rope : ropes_) rope.Cover(longest);
  const int64_t* positions = batch.positions.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    RETORT_CHECK(positions[i] >= 0 && positions[i] < longest) << "position " << positions[i];
  }
  const PackedBatch there = {tensor::Upload(batch.ids, device_),
                             tensor::Upload(batch.positions, device_), batch.offsets};
  const SharedSegments segments = SegmentsOf(attention_shape(), there.positions, there.offsets);
  at::Tensor x = Embed(there);
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    if (wanted != nullptr && !wanted()) return {};
    x = Layer(i, x, segments);
  }
  if (config_.final_norm) x = Norm(final_norm_, x);
  return project_out_.weight.defined() ? Linear(x, project_out_) : x;
}

SelectedLogProbs Model::LogProbs(const at::Tensor& hidden, const at::Tensor& targets,
                                 double temperature, const VocabMask& mask) const {
  RETORT_CHECK(head_.weight.defined()) << "a sequence classification has no log-probs";
  return HeadLogProbs(hidden, {head_.weight, head_.bias}, targets,
                      {temperature, config_.final_soft_cap, mask});
}

at::Tensor Model::FullLogProbs(const at::Tensor& hidden, double temperature,
                               const VocabMask& mask) const {
  at::Tensor logits = Logits(hidden);
  if (temperature != 1.0) logits = logits / temperature;
  const int64_t limit = mask.limit == 0 ? config_.vocab_size : mask.limit;
  if (limit < config_.vocab_size || !mask.excluded.empty()) {
    const at::Tensor excluded = at::arange(config_.vocab_size, at::kLong) >= limit;
    bool* const flags = excluded.data_ptr<bool>();
    for (const int64_t id : mask.excluded) flags[id] = true;
    logits = logits.masked_fill(tensor::Upload(excluded, device_),
                                -std::numeric_limits<double>::infinity());
  }
  return at::log_softmax(logits, -1);
}

at::Tensor Model::Logits(const at::Tensor& hidden) const {
  RETORT_CHECK(head_.weight.defined()) << "a sequence classification has no logits";
  return SoftCap(HeadLogits(hidden, {head_.weight, head_.bias}), config_.final_soft_cap);
}

at::Tensor Model::Scores(const at::Tensor& hidden) const {
  RETORT_CHECK(score_.defined()) << "not a sequence classification";
  return at::linear(hidden.to(at::kFloat), score_.to(at::kFloat)).squeeze(1);
}

at::Tensor Model::Values(const at::Tensor& hidden) const {
  RETORT_CHECK(value_.weight.defined()) << "the layout has no value head";
  return Linear(hidden.to(at::kFloat), value_).squeeze(1);
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
    const at::Tensor hidden = model.Hidden(batch).narrow(0, 0, count - 1);
    const bool scores = model.config().task == layout::Task::kSequenceClassification;
    const at::Tensor prints =
        scores ? model.Scores(hidden)
               : model.LogProbs(hidden, batch.ids.narrow(0, 1, count - 1), 1.0, {vocab}).log_probs;
    const at::Tensor host = prints.cpu();
    const float* data = host.const_data_ptr<float>();
    return std::vector<float>(data, data + count - 1);
  });
}

}  // namespace retort::model
