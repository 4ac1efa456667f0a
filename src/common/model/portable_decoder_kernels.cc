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
#include "common/model/portable_row_draw.h"
#include "common/model/portable_rows.h"
#include "common/tensor/cat.h"
#include "common/tensor/torch_process.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

using portable::Rotate;

constexpr int64_t kLogitElements = int64_t{1} << 26;  // Logits at once: 256 MiB.

// A group of a plan on the device.
struct DeviceGroup {
  int64_t sequences, queries, keys;
  int64_t first_row;  // Of the step, if they follow each other; else
  at::Tensor rows;    // [sequences * queries].
  at::Tensor cells;   // [2 * sequences * kv_heads * blocks] of the cache: keys, then values.
  at::Tensor unseen;  // [sequences, 1, queries, keys]: keys that a query does not see,
  at::Tensor stale;   // [sequences, 1, keys, 1]: and those that none of its sequence ever stored.

  at::Tensor Rows(const at::Tensor& x) const {
    return rows.defined() ? x.index_select(0, rows) : x.narrow(0, first_row, sequences * queries);
  }
};

// What all layers of one window attend to: as the host computed it, and on the device.
struct HostPlan {
  std::vector<AttendGroup> groups;
  IndexRange places;
};
struct DevicePlan {
  std::vector<DeviceGroup> groups;
  at::Tensor places;  // [rows]: where each row is in the groups; undefined if in its place.
};

// Copies of keys and values [sequences * kv_heads, keys, head_dim].
struct Gathered {
  at::Tensor keys, values;
};

// The paged keys and values of all layers. A cell is a block of one head. New memory is zero: what
// no query sees is multiplied by 0 and must be finite.
class PagedCache {
 public:
  PagedCache(const AttentionShape& shape, int64_t layers, int64_t blocks,
             const at::TensorOptions& options)
      : shape_(shape),
        cells_(
            at::zeros({layers, 2, blocks, shape.kv_heads, kBlockTokens, shape.head_dim}, options)) {
    const at::TensorOptions longs = options.dtype(at::kLong);
    parts_ = at::arange(2, longs).unsqueeze(1) * blocks * shape.kv_heads +
             at::arange(shape.kv_heads, longs);
  }

  // [2 * sequences * kv_heads * blocks]: the cells of `tables` [sequences, blocks].
  at::Tensor Cells(const at::Tensor& tables) const {
    return (tables.view({1, tables.size(0), 1, -1}) * shape_.kv_heads +
            parts_.view({2, 1, shape_.kv_heads, 1}))
        .flatten();
  }
  // [rows * 2 * kv_heads]: where in cells the token lies that `places` [rows] names, kBlockTokens a
  // block.
  at::Tensor Slots(const at::Tensor& places) const {
    const at::Tensor block = places.floor_divide(kBlockTokens),
                     offset = places - block * kBlockTokens;
    return ((block.view({-1, 1, 1}) * shape_.kv_heads + parts_) * kBlockTokens +
            offset.view({-1, 1, 1}))
        .flatten();
  }

  // k and v of rows, [rows, 2 * kv_heads, head_dim], to `slots` of one layer.
  void Store(int64_t layer, const at::Tensor& slots, const at::Tensor& kv) {
    const tensor::DistinctIndices once;
    cells_.select(0, layer)
        .view({-1, shape_.head_dim})
        .index_copy_(0, slots, kv.reshape({-1, shape_.head_dim}));
  }

  Gathered Gather(int64_t layer, const DeviceGroup& group) const {
    const at::Tensor both =
        cells_.select(0, layer)
            .view({-1, kBlockTokens * shape_.head_dim})
            .index_select(0, group.cells)
            .view({2, group.sequences * shape_.kv_heads, group.keys, shape_.head_dim});
    const Gathered out{both.select(0, 0), both.select(0, 1)};
    // A block that another sequence left may hold anything: 0 * NaN must be 0.
    out.values.view({group.sequences, shape_.kv_heads, group.keys, shape_.head_dim})
        .masked_fill_(group.stale, 0);
    return out;
  }

  void Copy(const BlockCopy& copy) { cells_.select(2, copy.to).copy_(cells_.select(2, copy.from)); }

 private:
  const AttentionShape shape_;
  at::Tensor cells_;  // [layers, keys and values, blocks, kv_heads, kBlockTokens, head_dim]
  at::Tensor parts_;  // [2, kv_heads]: where a block's keys and values of a head begin, in cells.
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

  void Draw(absl::Span<RowDraw> draws, const Projection& head, double soft_cap) override;

 private:
  static double Offset(const layout::NormConfig& norm) { return norm.add_one ? 1.0 : 0.0; }
  at::ScalarType Type() const { return model_.compute_type(); }
  at::Tensor Top(const at::Tensor& t) const { return t.narrow(0, 0, ids_.numel()); }
  at::Tensor Indices(const IndexRange& range) const {
    return indices_.narrow(0, range.begin, range.count);
  }
  std::map<std::pair<int64_t, bool>, HostPlan> PlansOf(const DecoderRows& rows,
                                                       IndexList* list) const;
  DeviceGroup GroupOf(const AttentionRule& rule, const AttendGroup& group,
                      const IndexList& list) const;
  const RopeAngles& OfRows(const RopeAngles& table);
  at::Tensor AttendGroupOf(int64_t layer, const AttentionRule& rule, const DeviceGroup& group,
                           const at::Tensor& qkv) const;

  const Model& model_;
  const AttentionShape shape_;
  const at::TensorOptions options_;
  PagedCache cache_;

  // Of the step.
  at::Tensor indices_;                   // All that the host computed.
  at::Tensor ids_, positions_, wanted_;  // Parts of it.
  at::Tensor slots_;                     // [rows * 2 * kv_heads] of the cache
  bool kept_ = false;                    // Whether only wanted rows are left.
  // By window, and whether of the wanted rows only.
  std::map<std::pair<int64_t, bool>, DevicePlan> plans_;
  std::map<const void*, RopeAngles> angles_;  // Of the rows, by the table they come from.

  at::Tensor hidden_;  // Of the host.
  DeviceDraws draws_;
};

void PortableDecoderKernels::Begin(const DecoderRows& rows) {
  IndexList list;
  std::vector<int64_t> positions, places;
  for (const CacheRow& row : rows.cache) {
    positions.push_back(row.position);
    places.push_back(row.blocks[row.position / kBlockTokens] * kBlockTokens +
                     row.position % kBlockTokens);
  }
  const IndexRange ids = list.Add(rows.ids), at = list.Add(positions), to = list.Add(places);
  const IndexRange wanted = list.Add(rows.wanted);
  const std::map<std::pair<int64_t, bool>, HostPlan> plans = PlansOf(rows, &list);
  indices_ = tensor::Upload(at::tensor(list.values(), at::kLong), options_.device());
  ids_ = Indices(ids);
  positions_ = Indices(at);
  wanted_ = Indices(wanted);
  slots_ = cache_.Slots(Indices(to));
  kept_ = false;
  plans_.clear();
  angles_.clear();
  for (const auto& [key, plan] : plans) {
    DevicePlan& there = plans_[key];
    if (plan.places.count > 0) there.places = Indices(plan.places);
    for (const AttendGroup& group : plan.groups) {
      there.groups.push_back(GroupOf({.window = key.first}, group, list));
    }
  }
}

std::map<std::pair<int64_t, bool>, HostPlan> PortableDecoderKernels::PlansOf(
    const DecoderRows& rows, IndexList* list) const {
  std::vector<CacheRow> kept;
  for (const int64_t row : rows.wanted) kept.push_back(rows.cache[row]);
  const int64_t layers = model_.config().num_hidden_layers;
  std::map<std::pair<int64_t, bool>, HostPlan> plans;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const AttentionRule rule = model_.attention_rule(layer);
    const bool last = layer + 1 == layers;
    const auto [plan, added] = plans.try_emplace({rule.window, last});
    if (!added) continue;
    plan->second.groups = PlanAttention(shape_, rule, last ? kept : rows.cache, {}, list);
    plan->second.places = PlacesOf(plan->second.groups, list);
  }
  return plans;
}

DeviceGroup PortableDecoderKernels::GroupOf(const AttentionRule& rule, const AttendGroup& group,
                                            const IndexList& list) const {
  const int64_t keys = group.blocks * kBlockTokens, sequences = group.sequences;
  const absl::Span<const int64_t> rows = list.Of(group.rows);
  DeviceGroup out{sequences, group.queries, keys, rows[0], {}, {}, {}, {}};
  if (!Consecutive(rows)) out.rows = Indices(group.rows);
  out.cells = cache_.Cells(Indices(group.tables).view({sequences, -1}));
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

const RopeAngles& PortableDecoderKernels::OfRows(const RopeAngles& table) {
  RopeAngles& angles = angles_[table.cos.const_data_ptr()];
  if (!angles.cos.defined()) {
    angles = {table.cos.index_select(0, positions_), table.sin.index_select(0, positions_)};
  }
  return angles;
}

void PortableDecoderKernels::StoreKeys(int64_t layer, const AttentionRule& rule,
                                       const RopeAngles& table, const at::Tensor& qkv) {
  const int64_t rows = ids_.numel(), turned = shape_.heads + shape_.kv_heads;
  const at::Tensor all = Top(qkv).view({rows, -1, shape_.head_dim});
  if (rule.rotary_dim > 0) {
    const RopeAngles& angles = OfRows(table);
    const at::Tensor qk = all.narrow(1, 0, turned);
    qk.copy_(Rotate(rule, qk, angles.cos, angles.sin, 1));
  }
  cache_.Store(layer, slots_, all.narrow(1, shape_.heads, 2 * shape_.kv_heads));
}

// [sequences * queries, q_width]
at::Tensor PortableDecoderKernels::AttendGroupOf(int64_t layer, const AttentionRule& rule,
                                                 const DeviceGroup& group,
                                                 const at::Tensor& qkv) const {
  const int64_t kv = shape_.kv_heads, shared = shape_.heads / kv, dim = shape_.head_dim;
  const int64_t sequences = group.sequences, queries = group.queries;
  const at::Tensor q = group.Rows(qkv.narrow(1, 0, shape_.q_width()))
                           .reshape({sequences, queries, kv, shared, dim})
                           .permute({0, 2, 3, 1, 4})
                           .reshape({sequences * kv, shared * queries, dim});
  const Gathered cached = cache_.Gather(layer, group);
  at::Tensor scores = portable::CappedScores(rule, q, cached.keys);
  scores.view({sequences, shape_.heads, queries, group.keys})
      .masked_fill_(group.unseen, -std::numeric_limits<double>::infinity());
  const at::Tensor p = at::softmax(scores, -1).to(Type());
  return p.bmm(cached.values)
      .view({sequences, kv, shared, queries, dim})
      .permute({0, 3, 1, 2, 4})
      .reshape({sequences * queries, shape_.q_width()});
}

void PortableDecoderKernels::Attend(int64_t layer, const AttentionRule& rule,
                                    const RopeAngles& /*angles*/, const at::Tensor& qkv,
                                    const at::Tensor& out) {
  const DevicePlan& plan = plans_.at({rule.window, kept_});
  if (plan.groups.empty()) return;
  std::vector<at::Tensor> parts;
  for (const DeviceGroup& group : plan.groups) {
    parts.push_back(AttendGroupOf(layer, rule, group, qkv));
  }
  const at::Tensor rows = parts.size() == 1 ? parts[0] : tensor::Cat(parts);
  out.narrow(0, 0, rows.size(0))
      .copy_(plan.places.defined() ? rows.index_select(0, plan.places) : rows);
}

void PortableDecoderKernels::Draw(absl::Span<RowDraw> draws, const Projection& head,
                                  double soft_cap) {
  const int64_t vocab = head.weight.size(0), width = head.weight.size(1);
  const int64_t most = std::max<int64_t>(1, kLogitElements / vocab);
  for (; !draws.empty(); draws.remove_prefix(std::min<size_t>(most, draws.size()))) {
    const absl::Span<RowDraw> part = draws.first(std::min<size_t>(most, draws.size()));
    // Of bf16 hidden states the host's fp32 are the same numbers.
    const at::Tensor hidden = tensor::Upload(HiddenOf(part, width), options_.device()).to(Type());
    const at::Tensor logits = SoftCap(HeadLogits(hidden, {head.weight, head.bias}), soft_cap);
    draws_.Draw(logits.contiguous(), part);
  }
}

}  // namespace

std::unique_ptr<DecoderKernels> MakePortableDecoderKernels(const Model& model, int64_t kv_blocks) {
  return std::make_unique<PortableDecoderKernels>(model, kv_blocks);
}

}  // namespace retort::model
