#include "common/model/decoder.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/base/check.h"

namespace retort::model {

void DecoderRows::Clear() {
  ids.clear();
  cache.clear();
  wanted.clear();
}

Decoder::Decoder(const Model& model, int64_t kv_blocks)
    : Decoder(model, model.device().is_cpu() ? MakeCpuDecoderKernels(model, kv_blocks)
                                             : MakePortableDecoderKernels(model, kv_blocks)) {}

Decoder::Decoder(const Model& model, std::unique_ptr<DecoderKernels> kernels)
    : model_(model),
      config_(model.config()),
      shape_(model.attention_shape()),
      kernels_(std::move(kernels)) {}

void Decoder::Reserve(int64_t rows) {
  if (rows <= reserved_) return;
  reserved_ = std::max(rows, 2 * reserved_);
  const int64_t hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size;
  const auto rows_of = [this](int64_t width) { return kernels_->NewRows(reserved_, width); };
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

void Decoder::Embed(const DecoderRows& rows) {
  // The factor is rounded to fp32 first, as Transformers does.
  const float scale = static_cast<float>(config_.embedding_scale);
  const bool projected = model_.project_in().weight.defined();
  const at::Tensor& to = projected ? out_ : x_;
  kernels_->Embed(model_.embedding(), scale, to);
  if (projected) kernels_->Linear(to, rows.size(), model_.project_in(), LinearMode::kStore, x_);
  if (!model_.position_table().defined()) return;
  kernels_->AddPositions(model_.position_table(), config_.position.learned_offset, x_);
}

void Decoder::Norm(const NormWeights& weights, const at::Tensor& x, int64_t count,
                   const at::Tensor& y) {
  kernels_->Norm(config_.norm, weights, x, count, y);
}

// norm_ -> attended_, of the rows that go on; returns how many.
int64_t Decoder::Attend(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  kernels_->Linear(norm_, rows.size(), w.qkv, LinearMode::kStore, qkv_);
  if (config_.attention.qk_norm) {
    kernels_->NormHeads(config_.norm, w.q_norm, w.k_norm, rows.size(), qkv_);
  }
  const AttentionRule rule = model_.attention_rule(layer);
  const RopeAngles angles =
      rule.rotary_dim == 0 ? RopeAngles() : model_.Rope(positions_, config_.layer(layer).rope);
  kernels_->StoreKeys(layer, rule, angles, qkv_);
  int64_t count = rows.size();
  // Behind the last layer's keys and values only the wanted rows matter: moves them to the front of
  // what is still read.
  if (layer + 1 == config_.num_hidden_layers) {
    kernels_->KeepWanted({x_, norm_, other_norm_, qkv_});
    count = static_cast<int64_t>(rows.wanted.size());
  }
  kernels_->Attend(layer, rule, angles, qkv_, attended_);
  return count;
}

// norm_ -> activated_.
void Decoder::Mlp(const LayerWeights& weights, int64_t count) {
  kernels_->Linear(norm_, count, weights.mlp_in, LinearMode::kStore, mlp_in_);
  kernels_->Activate(config_.mlp, mlp_in_, count, activated_);
}

// x_ += norm(branch_).
void Decoder::AddBranch(const NormWeights& norm, int64_t count) {
  Norm(norm, branch_, count, branch_);
  kernels_->Add(branch_, count, x_);
}

void Decoder::PostNormLayer(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  kernels_->Copy(x_, rows.size(), norm_);
  const int64_t count = Attend(layer, rows);
  kernels_->Linear(attended_, count, w.o, LinearMode::kAdd, x_);
  Norm(w.attention_norm, x_, count, x_);
  kernels_->Copy(x_, count, norm_);
  Mlp(w, count);
  kernels_->Linear(activated_, count, w.mlp_out, LinearMode::kAdd, x_);
  Norm(w.mlp_norm, x_, count, x_);
}

void Decoder::SandwichLayer(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  Norm(w.attention_norm, x_, rows.size(), norm_);
  const int64_t count = Attend(layer, rows);
  kernels_->Linear(attended_, count, w.o, LinearMode::kStore, branch_);
  AddBranch(w.attention_out_norm, count);
  Norm(w.mlp_norm, x_, count, norm_);
  Mlp(w, count);
  kernels_->Linear(activated_, count, w.mlp_out, LinearMode::kStore, branch_);
  AddBranch(w.mlp_out_norm, count);
}

// Pre-norm and both parallel forms: they differ in what the MLP sees.
void Decoder::AddingLayer(int64_t layer, const DecoderRows& rows) {
  const LayerWeights& w = model_.layers()[layer];
  const bool two_norms = config_.residual == layout::Residual::kParallel;
  if (two_norms) Norm(w.mlp_norm, x_, rows.size(), other_norm_);
  Norm(w.attention_norm, x_, rows.size(), norm_);
  const int64_t count = Attend(layer, rows);
  kernels_->Linear(attended_, count, w.o, LinearMode::kAdd, x_);
  if (two_norms) std::swap(norm_, other_norm_);
  if (config_.residual == layout::Residual::kPreNorm) Norm(w.mlp_norm, x_, count, norm_);
  Mlp(w, count);
  kernels_->Linear(activated_, count, w.mlp_out, LinearMode::kAdd, x_);
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
  const c10::InferenceMode inference;
  RETORT_CHECK(std::is_sorted(rows.wanted.begin(), rows.wanted.end(), std::less_equal<>()))
      << "rows are wanted out of order";
  const int64_t wanted = static_cast<int64_t>(rows.wanted.size());
  Reserve(rows.size());
  positions_ = 0;
  for (const CacheRow& row : rows.cache) positions_ = std::max(positions_, row.position + 1);
  kernels_->Begin(rows);
  Embed(rows);
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) Layer(i, rows);
  if (config_.final_norm) Norm(model_.final_norm(), x_, wanted, x_);
  if (!model_.project_out().weight.defined()) return kernels_->ToHost(x_, wanted);
  kernels_->Linear(x_, wanted, model_.project_out(), LinearMode::kStore, out_);
  return kernels_->ToHost(out_, wanted);
}

void Decoder::Draw(absl::Span<RowDraw> draws) {
  const c10::InferenceMode inference;
  RETORT_CHECK(model_.head().weight.defined()) << "a sequence classification has no logits";
  kernels_->Draw(draws, model_.head(), config_.final_soft_cap);
}

void Decoder::CopyBlock(const BlockCopy& copy) {
  const c10::InferenceMode inference;
  kernels_->CopyBlock(copy);
}

}  // namespace retort::model
