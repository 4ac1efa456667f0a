#include "common/model/decoder.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"
#include "common/model/row_kernels.h"
#include "common/model/soft_cap.h"

namespace retort::model {
namespace {

const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }
float* Mutable(const at::Tensor& t) { return t.mutable_data_ptr<float>(); }

// Row `row` of a table [.., width] of fp32 or bf16, times `scale`.
void CopyRow(const at::Tensor& table, int64_t row, int64_t width, float scale, float* to) {
  if (table.scalar_type() == at::kBFloat16) {
    const at::BFloat16* from = table.const_data_ptr<at::BFloat16>() + row * width;
    for (int64_t i = 0; i < width; ++i) to[i] = static_cast<float>(from[i]) * scale;
    return;
  }
  const float* from = Data(table) + row * width;
  for (int64_t i = 0; i < width; ++i) to[i] = from[i] * scale;
}

}  // namespace

void DecoderRows::Clear() {
  ids.clear();
  cache.clear();
  wanted.clear();
}

Decoder::Decoder(const Model& model, int64_t kv_blocks)
    : model_(model),
      config_(model.config()),
      shape_(model.attention_shape()),
      cache_(shape_, config_.num_hidden_layers, kv_blocks) {}

void Decoder::Reserve(int64_t rows) {
  if (rows <= reserved_) return;
  reserved_ = std::max(rows, 2 * reserved_);
  const int64_t hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size;
  const auto rows_of = [this](int64_t width) { return at::empty({reserved_, width}, at::kFloat); };
  x_ = rows_of(hidden);
  norm_ = rows_of(hidden);
  other_norm_ = rows_of(hidden);
  branch_ = rows_of(hidden);
  qkv_ = rows_of(shape_.qkv_width());
  attended_ = rows_of(shape_.q_width());
  mlp_in_ = rows_of(config_.mlp.gated ? 2 * inner : inner);
  activated_ = rows_of(inner);
  out_ = rows_of(config_.embedding_size());
}

void Decoder::Project(const float* x, int64_t rows, const Projection& projection, LinearMode mode,
                      float* y) {
  const at::Tensor& bias = projection.bias;
  const WeightMatrix weight = MatrixOf(projection.weight);
  RowLinear(x, rows, weight, bias.defined() ? Data(bias) : nullptr, mode, y);
  for (const AdapterPart& part : projection.adapter) {
    const int64_t rank = part.a.size(0), width = part.b.size(0);
    low_.resize(std::max<size_t>(low_.size(), rows * rank));
    wide_.resize(std::max<size_t>(wide_.size(), rows * width));
    RowLinear(x, rows, MatrixOf(part.a), nullptr, LinearMode::kStore, low_.data());
    RowLinear(low_.data(), rows, MatrixOf(part.b), nullptr, LinearMode::kStore, wide_.data());
    const float scale = static_cast<float>(part.scale);
    for (int64_t r = 0; r < rows; ++r) {
      float* const to = y + r * weight.outputs + part.row;
      for (int64_t i = 0; i < width; ++i) to[i] += scale * wide_[r * width + i];
    }
  }
}

void Decoder::Embed(const DecoderRows& rows) {
  const int64_t width = config_.embedding_size(), hidden = config_.hidden_size;
  // The factor is rounded to fp32 first, as Transformers does.
  const float scale = static_cast<float>(config_.embedding_scale);
  const bool projected = model_.project_in().weight.defined();
  float* const to = Mutable(projected ? out_ : x_);
  for (int64_t r = 0; r < rows.size(); ++r) {
    CopyRow(model_.embedding(), rows.ids[r], width, scale, to + r * width);
  }
  if (projected) {
    Project(to, rows.size(), model_.project_in(), LinearMode::kStore, Mutable(x_));
  }
  if (!model_.position_table().defined()) return;
  // branch_ holds a position's row for a moment.
  float* const at = Mutable(branch_);
  for (int64_t r = 0; r < rows.size(); ++r) {
    CopyRow(model_.position_table(), rows.cache[r].position + config_.position.learned_offset,
            hidden, 1.0f, at);
    float* const x = Mutable(x_) + r * hidden;
    for (int64_t i = 0; i < hidden; ++i) x[i] += at[i];
  }
}

void Decoder::Norm(const NormWeights& weights, const at::Tensor& x, int64_t count,
                   const at::Tensor& y) {
  const layout::NormConfig& norm = config_.norm;
  if (norm.kind == layout::NormKind::kLayer) {
    LayerNormForward(Data(x), Data(weights.weight), Data(weights.bias), norm.eps, count,
                     config_.hidden_size, Mutable(y), nullptr, nullptr);
  } else {
    RmsNormForward(Data(x), Data(weights.weight), norm.eps, count, config_.hidden_size, Mutable(y),
                   nullptr, norm.add_one ? 1.0f : 0.0f);
  }
}

// norm_ -> attended_, of the rows that go on; returns how many.
int64_t Decoder::Attend(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  Project(Data(norm_), rows.size(), w.qkv, LinearMode::kStore, Mutable(qkv_));
  if (config_.attention.qk_norm) {
    const float offset = config_.norm.add_one ? 1.0f : 0.0f;
    for (int64_t r = 0; r < rows.size(); ++r) {
      float* const q = Mutable(qkv_) + r * shape_.qkv_width();
      float* const k = q + shape_.q_width();
      RmsNormForward(q, Data(w.q_norm.weight), config_.norm.eps, shape_.heads, shape_.head_dim, q,
                     nullptr, offset);
      RmsNormForward(k, Data(w.k_norm.weight), config_.norm.eps, shape_.kv_heads, shape_.head_dim,
                     k, nullptr, offset);
    }
  }
  const AttentionRule rule = model_.attention_rule(layer);
  const RopeView rope =
      rule.rotary_dim == 0 ? RopeView() : model_.Rope(positions_, config_.layer(layer).rope).view();
  cache_.Store(layer, rule, rope, Data(qkv_), rows.cache);
  const bool last = layer + 1 == config_.num_hidden_layers;
  const std::vector<CacheRow>& kept = last ? KeepWanted(rows) : rows.cache;
  cache_.Attend(layer, rule, rope, Data(qkv_), kept, Mutable(attended_));
  return static_cast<int64_t>(kept.size());
}

// Behind the last layer's keys and values only the wanted rows matter: moves them to the front of
// what is still read.
const std::vector<CacheRow>& Decoder::KeepWanted(const DecoderRows& rows) {
  wanted_.clear();
  for (const int64_t row : rows.wanted) wanted_.push_back(rows.cache[row]);
  RETORT_CHECK(std::is_sorted(rows.wanted.begin(), rows.wanted.end(), std::less_equal<>()))
      << "rows are wanted out of order";
  if (wanted_.size() == rows.cache.size()) return wanted_;
  for (const at::Tensor* t : {&x_, &norm_, &other_norm_, &qkv_}) {
    const int64_t width = t->size(1);
    for (size_t i = 0; i < wanted_.size(); ++i) {
      float* const data = Mutable(*t);
      std::copy_n(data + rows.wanted[i] * width, width, data + static_cast<int64_t>(i) * width);
    }
  }
  return wanted_;
}

// norm_ -> activated_.
void Decoder::Mlp(const LayerWeights& weights, int64_t count) {
  Project(Data(norm_), count, weights.mlp_in, LinearMode::kStore, Mutable(mlp_in_));
  ActivationForward(config_.mlp, Data(mlp_in_), count, config_.intermediate_size,
                    Mutable(activated_));
}

// x_ += norm(branch_).
void Decoder::AddBranch(const NormWeights& norm, int64_t count) {
  Norm(norm, branch_, count, branch_);
  float* const x = Mutable(x_);
  const float* const y = Data(branch_);
  for (int64_t i = 0; i < count * config_.hidden_size; ++i) x[i] += y[i];
}

void Decoder::PostNormLayer(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  std::copy_n(Data(x_), rows.size() * config_.hidden_size, Mutable(norm_));
  const int64_t count = Attend(layer, rows);
  Project(Data(attended_), count, w.o, LinearMode::kAdd, Mutable(x_));
  Norm(w.attention_norm, x_, count, x_);
  std::copy_n(Data(x_), count * config_.hidden_size, Mutable(norm_));
  Mlp(w, count);
  Project(Data(activated_), count, w.mlp_out, LinearMode::kAdd, Mutable(x_));
  Norm(w.mlp_norm, x_, count, x_);
}

void Decoder::SandwichLayer(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  Norm(w.attention_norm, x_, rows.size(), norm_);
  const int64_t count = Attend(layer, rows);
  Project(Data(attended_), count, w.o, LinearMode::kStore, Mutable(branch_));
  AddBranch(w.attention_out_norm, count);
  Norm(w.mlp_norm, x_, count, norm_);
  Mlp(w, count);
  Project(Data(activated_), count, w.mlp_out, LinearMode::kStore, Mutable(branch_));
  AddBranch(w.mlp_out_norm, count);
}

// Pre-norm and both parallel forms: they differ in what the MLP sees.
void Decoder::AddingLayer(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  const bool two_norms = config_.residual == layout::Residual::kParallel;
  if (two_norms) Norm(w.mlp_norm, x_, rows.size(), other_norm_);
  Norm(w.attention_norm, x_, rows.size(), norm_);
  const int64_t count = Attend(layer, rows);
  Project(Data(attended_), count, w.o, LinearMode::kAdd, Mutable(x_));
  if (two_norms) std::swap(norm_, other_norm_);
  if (config_.residual == layout::Residual::kPreNorm) Norm(w.mlp_norm, x_, count, norm_);
  Mlp(w, count);
  Project(Data(activated_), count, w.mlp_out, LinearMode::kAdd, Mutable(x_));
}

void Decoder::Layer(int64_t layer, const DecoderRows& rows) {
  switch (config_.residual) {
    case layout::Residual::kPreNorm:
    case layout::Residual::kParallel:
    case layout::Residual::kParallelOne:
      return AddingLayer(layer, rows);
    case layout::Residual::kPostNorm:
      return PostNormLayer(layer, rows);
    case layout::Residual::kSandwich:
      return SandwichLayer(layer, rows);
  }
}

const float* Decoder::Hidden(const DecoderRows& rows) {
  const int64_t wanted = static_cast<int64_t>(rows.wanted.size());
  Reserve(rows.size());
  positions_ = 0;
  for (const CacheRow& row : rows.cache) positions_ = std::max(positions_, row.position + 1);
  Embed(rows);
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) Layer(i, rows);
  if (config_.final_norm) Norm(model_.final_norm(), x_, wanted, x_);
  if (!model_.project_out().weight.defined()) return Data(x_);
  Project(Data(x_), wanted, model_.project_out(), LinearMode::kStore, Mutable(out_));
  return Data(out_);
}

const float* Decoder::Logits(const float* hidden, int64_t count) {
  if (!logits_.defined() || logits_.size(0) < count) {
    logits_ = at::empty({count, config_.vocab_size}, at::kFloat);
  }
  RETORT_CHECK(model_.head().weight.defined()) << "a sequence classification has no logits";
  Project(hidden, count, model_.head(), LinearMode::kStore, Mutable(logits_));
  if (config_.final_soft_cap > 0) {
    SoftCapRows(Mutable(logits_), count * config_.vocab_size,
                static_cast<float>(config_.final_soft_cap));
  }
  return Data(logits_);
}

}  // namespace retort::model
