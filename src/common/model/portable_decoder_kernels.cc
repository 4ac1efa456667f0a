#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "common/model/attend_plan.h"
#include "common/model/decoder_kernels.h"
#include "common/model/head_logits.h"
#include "common/model/ops.h"
#include "common/model/portable_attention.h"
#include "common/model/portable_rows.h"
#include "common/tensor/cat.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

using portable::Rotate;

// A group of a plan on the device.
struct DeviceGroup {
  int64_t sequences, queries, keys;
  at::Tensor rows;    // [sequences * queries] of the step
  at::Tensor cells;   // [sequences * kv_heads * blocks] of the cache, a block of one head each
  at::Tensor unseen;  // [sequences, 1, queries, keys]: keys that a query does not see,
  at::Tensor stale;   // [sequences, 1, keys, 1]: and those that none of its sequence ever stored.
};

// The paged keys and values of all layers. New memory is zero: what no query sees is multiplied by
// 0 and must be finite.
class PagedCache {
 public:
  PagedCache(const AttentionShape& shape, int64_t layers, int64_t blocks,
             const at::TensorOptions& options)
      : shape_(shape),
        keys_(at::zeros({layers, blocks, shape.kv_heads, kBlockTokens, shape.head_dim}, options)),
        values_(at::zeros_like(keys_)) {}

  // x [rows, kv_heads, head_dim] to `slots` [rows * kv_heads] of one layer.
  void StoreKeys(int64_t layer, const at::Tensor& slots, const at::Tensor& x) {
    Slots(keys_, layer).index_copy_(0, slots, x.reshape({-1, shape_.head_dim}));
  }
  void StoreValues(int64_t layer, const at::Tensor& slots, const at::Tensor& x) {
    Slots(values_, layer).index_copy_(0, slots, x.reshape({-1, shape_.head_dim}));
  }

  // [sequences * kv_heads, keys, head_dim] copies.
  at::Tensor Keys(int64_t layer, const DeviceGroup& group) const {
    return Gather(keys_, layer, group);
  }
  at::Tensor Values(int64_t layer, const DeviceGroup& group) const {
    const at::Tensor values = Gather(values_, layer, group);
    // A block that another sequence left may hold anything: 0 * NaN must be 0.
    values.view({group.sequences, shape_.kv_heads, group.keys, shape_.head_dim})
        .masked_fill_(group.stale, 0);
    return values;
  }

  void Copy(const BlockCopy& copy) {
    for (const at::Tensor& t : {keys_, values_}) {
      t.select(1, copy.to).copy_(t.select(1, copy.from));
    }
  }

 private:
  at::Tensor Slots(const at::Tensor& cache, int64_t layer) const {
    return cache.select(0, layer).view({-1, shape_.head_dim});
  }
  at::Tensor Gather(const at::Tensor& cache, int64_t layer, const DeviceGroup& group) const {
    return cache.select(0, layer)
        .view({-1, kBlockTokens * shape_.head_dim})
        .index_select(0, group.cells)
        .view({group.sequences * shape_.kv_heads, group.keys, shape_.head_dim});
  }

  const AttentionShape shape_;
  at::Tensor keys_, values_;  // [layers, blocks, kv_heads, kBlockTokens, head_dim]
};

class PortableDecoderKernels : public DecoderKernels {
 public:
  PortableDecoderKernels(const Model& model, int64_t kv_blocks)
      : model_(model),
        shape_(model.attention_shape()),
        options_(at::TensorOptions().dtype(model.compute_type()).device(model.device())),
        cache_(shape_, model.config().num_hidden_layers, kv_blocks, options_) {}

  at::Tensor NewRows(int64_t rows, int64_t width) const override {
    return at::empty({rows, width}, options_);
  }

  void Begin(const DecoderRows& rows) override;

  void Embed(const at::Tensor& table, float scale, const at::Tensor& to) override {
    const at::Tensor rows = table.index_select(0, ids_).to(Type());
    Top(to).copy_(scale == 1 ? rows : rows * scale);
  }

  void AddPositions(const at::Tensor& table, int64_t offset, const at::Tensor& to) override {
    Top(to).add_(table.index_select(0, positions_ + offset).to(Type()));
  }

  void Linear(const at::Tensor& x, int64_t count, const Projection& projection, LinearMode mode,
              const at::Tensor& y) override;

  void Norm(const layout::NormConfig& norm, const NormWeights& weights, const at::Tensor& x,
            int64_t count, const at::Tensor& y) override {
    const at::Tensor rows = x.narrow(0, 0, count);
    y.narrow(0, 0, count)
        .copy_(norm.kind == layout::NormKind::kLayer
                   ? portable::LayerNormForward(rows, weights.weight, weights.bias, norm.eps).y
                   : portable::RmsNormForward(rows, weights.weight, norm.eps, Offset(norm)).y);
  }

  void NormHeads(const layout::NormConfig& norm, const NormWeights& q, const NormWeights& k,
                 int64_t count, const at::Tensor& qkv) override {
    const auto heads = [&](int64_t begin, int64_t width, const NormWeights& weights) {
      const at::Tensor part = qkv.narrow(0, 0, count).narrow(1, begin, width);
      const at::Tensor rows = part.reshape({-1, shape_.head_dim});
      part.copy_(portable::RmsNormForward(rows, weights.weight, norm.eps, Offset(norm))
                     .y.view({count, width}));
    };
    heads(0, shape_.q_width(), q);
    heads(shape_.q_width(), shape_.kv_width(), k);
  }

  void Activate(const layout::MlpConfig& mlp, const at::Tensor& x, int64_t count,
                const at::Tensor& y) override {
    y.narrow(0, 0, count).copy_(model::Activate(mlp, x.narrow(0, 0, count)));
  }

  void Copy(const at::Tensor& x, int64_t count, const at::Tensor& y) override {
    y.narrow(0, 0, count).copy_(x.narrow(0, 0, count));
  }

  void Add(const at::Tensor& x, int64_t count, const at::Tensor& y) override {
    y.narrow(0, 0, count).add_(x.narrow(0, 0, count));
  }

  void StoreKeys(int64_t layer, const AttentionRule& rule, const RopeAngles& angles,
                 const at::Tensor& qkv) override;
  void Attend(int64_t layer, const AttentionRule& rule, const RopeAngles& angles,
              const at::Tensor& qkv, const at::Tensor& out) override;

  void KeepWanted(absl::Span<const at::Tensor> matrices) override {
    kept_ = true;
    if (wanted_.numel() == ids_.numel()) return;
    for (const at::Tensor& t : matrices) {
      t.narrow(0, 0, wanted_.numel()).copy_(t.index_select(0, wanted_));
    }
  }

  void CopyBlock(const BlockCopy& copy) override { cache_.Copy(copy); }

  const float* ToHost(const at::Tensor& x, int64_t count) override {
    hidden_ = x.narrow(0, 0, count).to(at::kCPU, at::kFloat);
    return hidden_.const_data_ptr<float>();
  }

  const float* Logits(const float* hidden, int64_t count, const Projection& head,
                      double soft_cap) override;

 private:
  static double Offset(const layout::NormConfig& norm) { return norm.add_one ? 1.0 : 0.0; }
  at::ScalarType Type() const { return model_.compute_type(); }
  at::Tensor Top(const at::Tensor& t) const { return t.narrow(0, 0, ids_.numel()); }
  at::Tensor Indices(const IndexRange& range) const {
    return indices_.narrow(0, range.begin, range.count);
  }
  DeviceGroup GroupOf(const AttentionRule& rule, const AttendGroup& group) const;
  at::Tensor AttendGroupOf(int64_t layer, const AttentionRule& rule, const DeviceGroup& group,
                           const at::Tensor& qkv) const;

  const Model& model_;
  const AttentionShape shape_;
  const at::TensorOptions options_;
  PagedCache cache_;

  // Of the step.
  at::Tensor indices_;                   // All that the host computed.
  at::Tensor ids_, positions_, wanted_;  // Parts of it.
  at::Tensor slots_;                     // [rows * kv_heads] of the cache
  bool kept_ = false;                    // Whether only wanted rows are left.
  // By window, and whether of the wanted rows only.
  std::map<std::pair<int64_t, bool>, std::vector<DeviceGroup>> groups_;

  at::Tensor hidden_, logits_;  // Of the host.
};

void PortableDecoderKernels::Begin(const DecoderRows& rows) {
  IndexList list;
  std::vector<int64_t> positions, slots;
  for (const CacheRow& row : rows.cache) {
    positions.push_back(row.position);
    const int64_t block = row.blocks[row.position / kBlockTokens];
    slots.push_back(block * shape_.kv_heads * kBlockTokens + row.position % kBlockTokens);
  }
  const IndexRange ids = list.Add(rows.ids), at = list.Add(positions), to = list.Add(slots);
  const IndexRange wanted = list.Add(rows.wanted);
  std::vector<CacheRow> kept;
  for (const int64_t row : rows.wanted) kept.push_back(rows.cache[row]);
  const int64_t layers = model_.config().num_hidden_layers;
  std::map<std::pair<int64_t, bool>, std::vector<AttendGroup>> plans;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const AttentionRule rule = model_.attention_rule(layer);
    const bool last = layer + 1 == layers;
    const auto [plan, added] = plans.try_emplace({rule.window, last});
    if (!added) continue;
    plan->second = PlanAttention(shape_, rule, last ? kept : rows.cache, {}, &list);
  }
  indices_ = tensor::Upload(at::tensor(list.values(), at::kLong), options_.device());
  ids_ = Indices(ids);
  positions_ = Indices(at);
  wanted_ = Indices(wanted);
  const at::Tensor heads = at::arange(shape_.kv_heads, indices_.options()) * kBlockTokens;
  slots_ = (Indices(to).unsqueeze(1) + heads).flatten();
  kept_ = false;
  groups_.clear();
  for (const auto& [key, plan] : plans) {
    for (const AttendGroup& group : plan) {
      groups_[key].push_back(GroupOf({.window = key.first}, group));
    }
  }
}

DeviceGroup PortableDecoderKernels::GroupOf(const AttentionRule& rule,
                                            const AttendGroup& group) const {
  const int64_t keys = group.blocks * kBlockTokens, sequences = group.sequences;
  DeviceGroup out{sequences, group.queries, keys, Indices(group.rows), {}, {}, {}};
  const at::Tensor heads = at::arange(shape_.kv_heads, indices_.options()).unsqueeze(1);
  out.cells = (Indices(group.tables).view({sequences, 1, -1}) * shape_.kv_heads + heads).flatten();
  const at::Tensor key =
      Indices(group.first).view({sequences, 1, 1, 1}) + at::arange(keys, indices_.options());
  const at::Tensor query = Indices(group.positions).view({sequences, 1, group.queries, 1});
  out.unseen = key > query;
  if (rule.window > 0) out.unseen = out.unseen.logical_or(key <= query - rule.window);
  out.stale = (key > query.narrow(2, group.queries - 1, 1)).transpose(2, 3);
  return out;
}

void PortableDecoderKernels::Linear(const at::Tensor& x, int64_t count,
                                    const Projection& projection, LinearMode mode,
                                    const at::Tensor& y) {
  const at::Tensor rows = x.narrow(0, 0, count);
  at::Tensor to = y.narrow(0, 0, count);
  const at::Tensor weight = projection.weight.to(Type()).t();
  if (mode == LinearMode::kAdd) {
    to.addmm_(rows, weight);
  } else {
    at::mm_out(to, rows, weight);
  }
  if (projection.bias.defined()) to.add_(projection.bias);
  for (const AdapterPart& part : projection.adapter) {
    const at::Tensor low = rows.mm(part.a.to(Type()).t());
    to.narrow(1, part.row, part.b.size(0)).add_(low.mm(part.b.to(Type()).t()), part.scale);
  }
}

void PortableDecoderKernels::StoreKeys(int64_t layer, const AttentionRule& rule,
                                       const RopeAngles& angles, const at::Tensor& qkv) {
  const int64_t rows = ids_.numel(), turned = shape_.heads + shape_.kv_heads;
  const at::Tensor all = Top(qkv).view({rows, -1, shape_.head_dim});
  at::Tensor k = all.narrow(1, shape_.heads, shape_.kv_heads);
  if (rule.rotary_dim > 0) {
    const at::Tensor rotated =
        Rotate(rule, all.narrow(1, 0, turned), angles.cos.index_select(0, positions_),
               angles.sin.index_select(0, positions_), 1);
    all.narrow(1, 0, shape_.heads).copy_(rotated.narrow(1, 0, shape_.heads));
    k = rotated.narrow(1, shape_.heads, shape_.kv_heads);
  }
  cache_.StoreKeys(layer, slots_, k);
  cache_.StoreValues(layer, slots_, all.narrow(1, turned, shape_.kv_heads));
}

// [sequences * queries, q_width]
at::Tensor PortableDecoderKernels::AttendGroupOf(int64_t layer, const AttentionRule& rule,
                                                 const DeviceGroup& group,
                                                 const at::Tensor& qkv) const {
  const int64_t kv = shape_.kv_heads, shared = shape_.heads / kv, dim = shape_.head_dim;
  const int64_t sequences = group.sequences, queries = group.queries;
  const at::Tensor q = qkv.narrow(1, 0, shape_.q_width())
                           .index_select(0, group.rows)
                           .view({sequences, queries, kv, shared, dim})
                           .permute({0, 2, 3, 1, 4})
                           .reshape({sequences * kv, shared * queries, dim});
  at::Tensor scores = portable::CappedScores(rule, q, cache_.Keys(layer, group));
  scores.view({sequences, shape_.heads, queries, group.keys})
      .masked_fill_(group.unseen, -std::numeric_limits<double>::infinity());
  const at::Tensor p = at::softmax(scores, -1).to(Type());
  return p.bmm(cache_.Values(layer, group))
      .view({sequences, kv, shared, queries, dim})
      .permute({0, 3, 1, 2, 4})
      .reshape({sequences * queries, shape_.q_width()});
}

void PortableDecoderKernels::Attend(int64_t layer, const AttentionRule& rule,
                                    const RopeAngles& /*angles*/, const at::Tensor& qkv,
                                    const at::Tensor& out) {
  for (const DeviceGroup& group : groups_[{rule.window, kept_}]) {
    out.index_copy_(0, group.rows, AttendGroupOf(layer, rule, group, qkv));
  }
}

const float* PortableDecoderKernels::Logits(const float* hidden, int64_t count,
                                            const Projection& head, double soft_cap) {
  const int64_t vocab = head.weight.size(0);
  if (!logits_.defined() || logits_.size(0) < count) {
    logits_ = at::empty({count, vocab}, at::kFloat);
  }
  // Of bf16 hidden states the host's fp32 are the same numbers.
  const at::Tensor rows =
      at::from_blob(const_cast<float*>(hidden), {count, head.weight.size(1)}, at::kFloat)
          .to(options_.device(), Type());
  const at::Tensor z = SoftCap(HeadLogits(rows, {head.weight, head.bias}), soft_cap);
  logits_.narrow(0, 0, count).copy_(z);
  return logits_.const_data_ptr<float>();
}

}  // namespace

std::unique_ptr<DecoderKernels> MakePortableDecoderKernels(const Model& model, int64_t kv_blocks) {
  return std::make_unique<PortableDecoderKernels>(model, kv_blocks);
}

}  // namespace retort::model
