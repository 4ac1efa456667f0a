#include "common/model/decoder.h"

#include <algorithm>

#include "common/model/row_kernels.h"

namespace retort::model {
namespace {

// out = x weight^T + bias.
void Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor out) {
  if (bias.defined()) {
    at::addmm_out(out, bias, x, weight.t());
  } else {
    at::mm_out(out, x, weight.t());
  }
}

// x += y weight^T + bias.
void AddLinear(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& bias,
               at::Tensor x) {
  x.addmm_(y, weight.t());
  if (bias.defined()) x.add_(bias);
}

}  // namespace

void DecoderRows::Clear() {
  ids.clear();
  slots.clear();
  positions.clear();
  wanted.clear();
}

Decoder::Decoder(const Model& model, int64_t slots, int64_t capacity)
    : model_(model), capacity_(capacity) {
  for (size_t i = 0; i < model.layers().size(); ++i) {
    caches_.emplace_back(model.attention_shape(), slots, capacity);
  }
}

void Decoder::Reserve(int64_t rows) {
  if (rows <= reserved_) return;
  reserved_ = std::max(rows, 2 * reserved_);
  const layout::ModelConfig& c = model_.config();
  const AttentionShape shape = model_.attention_shape();
  x_ = at::empty({reserved_, c.hidden_size}, at::kFloat);
  norm_ = at::empty({reserved_, c.hidden_size}, at::kFloat);
  qkv_ = at::empty({reserved_, shape.qkv_width()}, at::kFloat);
  attended_ = at::empty({reserved_, shape.q_width()}, at::kFloat);
  gate_up_ = at::empty({reserved_, 2 * c.intermediate_size}, at::kFloat);
  activated_ = at::empty({reserved_, c.intermediate_size}, at::kFloat);
}

void Decoder::Layer(const LayerWeights& weights, KvCache* cache, const RopeView& rope,
                    const DecoderRows& rows) {
  const layout::ModelConfig& c = model_.config();
  const int64_t count = static_cast<int64_t>(rows.ids.size());
  const auto view = [count](const at::Tensor& t) { return t.narrow(0, 0, count); };
  const auto norm = [&](const at::Tensor& weight) {
    RmsNormForward(x_.const_data_ptr<float>(), weight.const_data_ptr<float>(), c.rms_norm_eps,
                   count, c.hidden_size, norm_.mutable_data_ptr<float>(), nullptr);
  };
  norm(weights.input_norm);
  Linear(view(norm_), weights.qkv, weights.qkv_bias, view(qkv_));
  cache->Attend(rope, qkv_.const_data_ptr<float>(), rows.slots.data(), rows.positions.data(), count,
                attended_.mutable_data_ptr<float>());
  AddLinear(view(attended_), weights.o, weights.o_bias, view(x_));
  norm(weights.post_norm);
  Linear(view(norm_), weights.gate_up, weights.gate_up_bias, view(gate_up_));
  SwiGluForward(gate_up_.const_data_ptr<float>(), count, c.intermediate_size,
                activated_.mutable_data_ptr<float>());
  AddLinear(view(activated_), weights.down, weights.down_bias, view(x_));
}

const float* Decoder::Forward(const DecoderRows& rows) {
  const int64_t count = static_cast<int64_t>(rows.ids.size());
  const int64_t wanted = static_cast<int64_t>(rows.wanted.size());
  const int64_t hidden = model_.config().hidden_size;
  Reserve(count);
  const auto longs = at::TensorOptions().dtype(at::kLong);
  const at::Tensor ids = at::from_blob(const_cast<int64_t*>(rows.ids.data()), {count}, longs);
  at::Tensor x = x_.narrow(0, 0, count);
  at::index_select_out(x, model_.embedding(), 0, ids);
  const RopeView rope = model_.Rope(capacity_).view();
  for (size_t i = 0; i < caches_.size(); ++i) {
    Layer(model_.layers()[i], &caches_[i], rope, rows);
  }
  // The head only on the rows that are asked for: norm_ takes them, then their normalised values in
  // place.
  const float* from = x_.const_data_ptr<float>();
  float* to = norm_.mutable_data_ptr<float>();
  for (int64_t i = 0; i < wanted; ++i) {
    std::copy(from + rows.wanted[i] * hidden, from + (rows.wanted[i] + 1) * hidden,
              to + i * hidden);
  }
  RmsNormForward(to, model_.final_norm().const_data_ptr<float>(), model_.config().rms_norm_eps,
                 wanted, hidden, to, nullptr);
  if (!logits_.defined() || logits_.size(0) < wanted) {
    logits_ = at::empty({wanted, model_.config().vocab_size}, at::kFloat);
  }
  at::Tensor logits = logits_.narrow(0, 0, wanted);
  at::mm_out(logits, norm_.narrow(0, 0, wanted), model_.head().t());
  return logits_.const_data_ptr<float>();
}

void Decoder::CopyPrefix(int64_t from, int64_t to, int64_t length) {
  for (KvCache& cache : caches_) cache.CopyPrefix(from, to, length);
}

}  // namespace retort::model
