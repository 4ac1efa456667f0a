#include <algorithm>
#include <functional>

#include "common/base/check.h"
#include "common/model/decoder_kernels.h"
#include "common/model/row_kernels.h"
#include "common/model/soft_cap.h"

namespace retort::model {
namespace {

constexpr int64_t kLogitElements = int64_t{1} << 24;  // Logits kept at once: 64 MiB.
constexpr int64_t kMinLogitRows = 16;                 // One pass over the head's weights.

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

// fp32. An output row depends on its own sequence only, bit for bit.
class CpuDecoderKernels : public DecoderKernels {
 public:
  CpuDecoderKernels(const Model& model, int64_t kv_blocks)
      : shape_(model.attention_shape()),
        cache_(shape_, model.config().num_hidden_layers, kv_blocks) {}

  at::Tensor NewRows(int64_t rows, int64_t width) const override {
    return at::empty({rows, width}, at::kFloat);
  }

  void Begin(const DecoderRows& rows) override {
    rows_ = &rows;
    kept_ = &rows.cache;
  }

  void Embed(const at::Tensor& table, float scale, const at::Tensor& to) override {
    const int64_t width = table.size(1);
    for (int64_t r = 0; r < rows_->size(); ++r) {
      CopyRow(table, rows_->ids[r], width, scale, Mutable(to) + r * width);
    }
  }

  void AddPositions(const at::Tensor& table, int64_t offset, const at::Tensor& to) override {
    const int64_t width = table.size(1);
    low_.resize(std::max<size_t>(low_.size(), width));  // Holds a position's row for a moment.
    for (int64_t r = 0; r < rows_->size(); ++r) {
      CopyRow(table, rows_->cache[r].position + offset, width, 1.0f, low_.data());
      float* const x = Mutable(to) + r * width;
      for (int64_t i = 0; i < width; ++i) x[i] += low_[i];
    }
  }

  void Linear(const at::Tensor& x, int64_t count, const Projection& projection, LinearMode mode,
              const at::Tensor& y) override {
    Project(Data(x), count, projection, mode, Mutable(y));
  }

  void Norm(const layout::NormConfig& norm, const NormWeights& weights, const at::Tensor& x,
            int64_t count, const at::Tensor& y) override {
    if (norm.kind == layout::NormKind::kLayer) {
      LayerNormForward(Data(x), Data(weights.weight), Data(weights.bias), norm.eps, count,
                       x.size(1), Mutable(y), nullptr, nullptr);
    } else {
      RmsNormForward(Data(x), Data(weights.weight), norm.eps, count, x.size(1), Mutable(y), nullptr,
                     norm.add_one ? 1.0f : 0.0f);
    }
  }

  void NormHeads(const layout::NormConfig& norm, const NormWeights& q, const NormWeights& k,
                 int64_t count, const at::Tensor& qkv) override {
    const float offset = norm.add_one ? 1.0f : 0.0f;
    for (int64_t r = 0; r < count; ++r) {
      float* const query = Mutable(qkv) + r * shape_.qkv_width();
      float* const key = query + shape_.q_width();
      RmsNormForward(query, Data(q.weight), norm.eps, shape_.heads, shape_.head_dim, query, nullptr,
                     offset);
      RmsNormForward(key, Data(k.weight), norm.eps, shape_.kv_heads, shape_.head_dim, key, nullptr,
                     offset);
    }
  }

  void Activate(const layout::MlpConfig& mlp, const at::Tensor& x, int64_t count,
                const at::Tensor& y) override {
    ActivationForward(mlp, Data(x), count, y.size(1), Mutable(y));
  }

  void Copy(const at::Tensor& x, int64_t count, const at::Tensor& y) override {
    std::copy_n(Data(x), count * x.size(1), Mutable(y));
  }

  void Add(const at::Tensor& x, int64_t count, const at::Tensor& y) override {
    const float* const from = Data(x);
    float* const to = Mutable(y);
    for (int64_t i = 0; i < count * x.size(1); ++i) to[i] += from[i];
  }

  void StoreKeys(int64_t layer, const AttentionRule& rule, const RopeAngles& angles,
                 const at::Tensor& qkv) override {
    cache_.Store(layer, rule, ViewOf(rule, angles), Data(qkv), rows_->cache);
  }

  void Attend(int64_t layer, const AttentionRule& rule, const RopeAngles& angles,
              const at::Tensor& qkv, const at::Tensor& out) override {
    cache_.Attend(layer, rule, ViewOf(rule, angles), Data(qkv), *kept_, Mutable(out));
  }

  void KeepWanted(absl::Span<const at::Tensor> matrices) override {
    wanted_.clear();
    for (const int64_t row : rows_->wanted) wanted_.push_back(rows_->cache[row]);
    kept_ = &wanted_;
    if (wanted_.size() == rows_->cache.size()) return;
    for (const at::Tensor& t : matrices) {
      const int64_t width = t.size(1);
      for (size_t i = 0; i < wanted_.size(); ++i) {
        float* const data = Mutable(t);
        std::copy_n(data + rows_->wanted[i] * width, width, data + static_cast<int64_t>(i) * width);
      }
    }
  }

  void CopyBlock(const BlockCopy& copy) override { cache_.CopyBlock(copy); }

  const float* ToHost(const at::Tensor& x, int64_t /*count*/) override { return Data(x); }

  void Draw(absl::Span<RowDraw> draws, const Projection& head, double soft_cap) override {
    const int64_t vocab = head.weight.size(0), width = head.weight.size(1);
    const size_t most = std::max(kMinLogitRows, kLogitElements / vocab);
    for (; !draws.empty(); draws.remove_prefix(std::min(most, draws.size()))) {
      const absl::Span<RowDraw> part = draws.first(std::min(most, draws.size()));
      const int64_t count = static_cast<int64_t>(part.size());
      if (!logits_.defined() || logits_.size(0) < count) logits_ = NewRows(count, vocab);
      Project(Data(HiddenOf(part, width)), count, head, LinearMode::kStore, Mutable(logits_));
      if (soft_cap > 0) {
        SoftCapRows(Mutable(logits_), count * vocab, static_cast<float>(soft_cap));
      }
      draws_.Draw(Data(logits_), vocab, part);
    }
  }

 private:
  static RopeView ViewOf(const AttentionRule& rule, const RopeAngles& angles) {
    return rule.rotary_dim == 0 ? RopeView() : angles.view();
  }

  void Project(const float* x, int64_t rows, const Projection& projection, LinearMode mode,
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

  const AttentionShape shape_;
  KvCache cache_;
  const DecoderRows* rows_ = nullptr;            // Of the step,
  const std::vector<CacheRow>* kept_ = nullptr;  // and those that are left of it.
  std::vector<CacheRow> wanted_;
  std::vector<float> low_, wide_;  // What an adapter's A and B give.
  at::Tensor logits_;
  HostDraws draws_;
};

}  // namespace

std::unique_ptr<DecoderKernels> MakeCpuDecoderKernels(const Model& model, int64_t kv_blocks) {
  return std::make_unique<CpuDecoderKernels>(model, kv_blocks);
}

}  // namespace retort::model
