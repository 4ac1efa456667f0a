// The differentiable side of vocab_head.h.
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "common/base/check.h"
#include "common/model/head_tiles.h"
#include "common/model/portable_vocab_head.h"
#include "common/model/simd.h"
#include "common/model/vocab_head.h"
#include "common/tensor/aten.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kBlockRows = 1024;  // Rows whose derivatives exist at once.
constexpr int64_t kTaskIds = 128;     // Rows of the weight's derivative that one thread takes.

// In place, one row of a tile: logits -> derivative of g_log_prob * log_prob(target) + g_entropy *
// entropy in the logits before the cap.
struct GradientKernel {
  float* z;
  int64_t count;
  float scale, cap;
  float lse, entropy, g_log_prob, g_entropy;
  int64_t target;  // Within the tile, or -1.

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    const float chosen = target >= 0 ? z[target] : 0.0f;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      simd::Float<kBytes> x;
      simd::Load<kBytes>(z + i, x);
      Differentiate<kBytes>(x);
      simd::Store<kBytes>(x, z + i);
    }
    if (i < count) {
      float lanes[kLanes] = {};
      std::copy(z + i, z + count, lanes);
      simd::Float<kBytes> x;
      simd::Load<kBytes>(lanes, x);
      Differentiate<kBytes>(x);
      simd::Store<kBytes>(x, lanes);
      std::copy(lanes, lanes + (count - i), z + i);
    }
    if (target < 0) return;
    const float ratio = cap == 0 ? 0.0f : chosen / cap;
    z[target] += g_log_prob * scale * (1.0f - ratio * ratio);
  }

  // Without the term of the target.
  template <int kBytes>
  RETORT_INLINE void Differentiate(simd::Float<kBytes>& value) const {
    simd::Float<kBytes> x = value * scale - lse;
    simd::Float<kBytes> p = x;
    simd::Exp<kBytes>(p);
    x = x > -100.0f ? x : simd::Float<kBytes>{};  // There p is 0; -inf * 0 must be 0.
    x = -p * (g_log_prob + g_entropy * (x + entropy)) * scale;
    if (cap != 0) {
      simd::Float<kBytes> ratio = value * (1.0f / cap);
      ratio = ratio >= -1.0f ? ratio : simd::Float<kBytes>{};  // Excluded ids are -inf.
      x = x * (1.0f - ratio * ratio);
    }
    value = x;
  }
};

struct Gradients {
  const int64_t* targets;
  const float* lse;
  const float* entropy;
  const float* log_prob;        // Of the loss in the outputs; null: none.
  const float* entropy_factor;  // The same.
  float* hidden;                // Out; null where not needed.
  float* weight;
  float* bias;
};

// Tiles of one block of rows and one pack of ids -> derivatives of the logits [rows, stride].
void Differentiate(const HeadView& view, const Gradients& g, const PackedColumns& packed,
                   int64_t first, int64_t row, int64_t rows, float* derivatives, int64_t stride,
                   GemmScratch* scratch) {
  const int64_t last = first + packed.columns();
  for (int64_t id = first; id < last; id += kTileIds) {
    const int64_t count = std::min(kTileIds, last - id);
    float* const tile = derivatives + (id - first);
    FillTile(view, packed, first, row, rows, id, count, tile, stride, scratch);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = row + r, target = g.targets[at] - id;
      simd::Dispatch(GradientKernel{tile + r * stride, count, view.scale, view.cap, g.lse[at],
                                    g.entropy[at], g.log_prob == nullptr ? 0.0f : g.log_prob[at],
                                    g.entropy_factor == nullptr ? 0.0f : g.entropy_factor[at],
                                    target >= 0 && target < count ? target : -1});
    }
  }
}

// Ids [first, first + count) of the weight's and the bias's derivative += those of `rows` rows.
void AddWeightGradient(const HeadView& view, const Gradients& g, const PackedColumns& hidden,
                       const float* derivatives, int64_t stride, int64_t rows, int64_t first,
                       int64_t count, GemmScratch* scratch) {
  if (g.weight != nullptr) {
    MultiplyPacked({derivatives, 1, stride}, count, hidden, 0, view.width, /*add=*/true,
                   g.weight + first * view.width, view.width, scratch);
  }
  if (g.bias == nullptr) return;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < count; ++i) g.bias[first + i] += derivatives[r * stride + i];
  }
}

struct BackwardBlock {
  PackedColumns hidden;            // The block's rows as columns of the weight's derivative.
  PackedColumns transposed;        // Weights of the packed ids, for logits,
  PackedColumns weights;           // and for the hidden states' derivative.
  std::vector<float> widened;      // Scratch of WideRows.
  std::vector<float> derivatives;  // [rows, stride]
  int64_t stride = 0;
};

void BackwardTile(const HeadView& view, const Gradients& g, int64_t row, int64_t rows,
                  int64_t first, int64_t count, BackwardBlock* block) {
  const int64_t task = RowsPerTask(rows);
  float* const derivatives = block->derivatives.data();
  const int64_t stride = block->stride;
  at::parallel_for(0, (rows + task - 1) / task, 1, [&](int64_t begin, int64_t end) {
    GemmScratch scratch;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t at = t * task, some = std::min(task, rows - at);
      float* const mine = derivatives + at * stride;
      Differentiate(view, g, block->transposed, first, row + at, some, mine, stride, &scratch);
      if (g.hidden == nullptr) continue;
      MultiplyPacked({mine, stride, 1}, some, block->weights, 0, view.width, /*add=*/true,
                     g.hidden + (row + at) * view.width, view.width, &scratch);
    }
  });
  if (g.weight == nullptr && g.bias == nullptr) return;
  at::parallel_for(0, (count + kTaskIds - 1) / kTaskIds, 1, [&](int64_t begin, int64_t end) {
    GemmScratch scratch;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t at = t * kTaskIds;
      AddWeightGradient(view, g, block->hidden, derivatives + at, stride, rows, first + at,
                        std::min(kTaskIds, count - at), &scratch);
    }
  });
}

void Backward(const HeadView& view, const Gradients& g) {
  BackwardBlock block;
  block.stride = TileStride(std::min(kPackedIds, view.limit));
  block.derivatives.resize(std::min(kBlockRows, view.rows) * block.stride);
  for (int64_t row = 0; row < view.rows; row += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, view.rows - row);
    if (g.weight != nullptr) {
      block.hidden.Pack({view.hidden + row * view.width, view.width, 1}, rows, view.width);
    }
    for (int64_t first = 0; first < view.limit; first += kPackedIds) {
      const int64_t count = std::min(kPackedIds, view.limit - first);
      const float* const weights = WideRows(view, first, count, &block.widened);
      block.transposed.Pack({weights, 1, view.width}, view.width, count);
      if (g.hidden != nullptr) block.weights.Pack({weights, view.width, 1}, count, view.width);
      BackwardTile(view, g, row, rows, first, count, &block);
    }
  }
}

const float* DataOrNull(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}

struct HeadFunction : torch::autograd::Function<HeadFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                               const at::Tensor& targets, double temperature, double soft_cap,
                               int64_t limit, const std::vector<int64_t>& excluded) {
    const HeadOptions options{temperature, soft_cap, {limit, excluded}};
    const HeadOutput out = HeadForward(hidden, {weight, bias.value_or(at::Tensor())}, targets,
                                       options, {.entropy = true, .sink = {}});
    ctx->save_for_backward(
        {hidden, weight, bias.value_or(at::Tensor()), targets, out.log_sum_exp, out.entropy});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["soft_cap"] = soft_cap;
    ctx->saved_data["limit"] = limit;
    ctx->saved_data["excluded"] = excluded;
    ctx->set_materialize_grads(false);
    return {out.log_probs, out.entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &bias = saved[2];
    const HeadOptions options{
        ctx->saved_data["temperature"].toDouble(),
        ctx->saved_data["soft_cap"].toDouble(),
        {ctx->saved_data["limit"].toInt(), ctx->saved_data["excluded"].toIntVector()}};
    const at::Tensor g0 = grads[0].defined() ? grads[0].contiguous() : at::Tensor();
    const at::Tensor g1 = grads[1].defined() ? grads[1].contiguous() : at::Tensor();
    const bool needs_bias = bias.defined() && ctx->needs_input_grad(2);
    const at::Tensor none;
    if (!hidden.is_cpu()) {
      const portable::HeadGradients g = portable::HeadBackward(
          hidden, {weight, bias}, {saved[3], saved[4], saved[5], g0, g1}, options,
          {ctx->needs_input_grad(0), ctx->needs_input_grad(1), needs_bias});
      return {g.hidden, g.weight, g.bias, none, none, none, none, none};
    }
    const HeadView view = ViewOf(hidden, {weight, bias}, options);
    at::Tensor dhidden, dweight, dbias;
    if (ctx->needs_input_grad(0)) dhidden = at::zeros_like(hidden);
    if (ctx->needs_input_grad(1)) dweight = at::zeros_like(weight);
    if (needs_bias) dbias = at::zeros_like(bias);
    const auto out = [](const at::Tensor& t) {
      return t.defined() ? t.mutable_data_ptr<float>() : nullptr;
    };
    Backward(view, {saved[3].const_data_ptr<int64_t>(), DataOrNull(saved[4]), DataOrNull(saved[5]),
                    DataOrNull(g0), DataOrNull(g1), out(dhidden), out(dweight), out(dbias)});
    return {dhidden, dweight, dbias, none, none, none, none, none};
  }
};

}  // namespace

SelectedLogProbs HeadLogProbs(const at::Tensor& hidden, const HeadWeights& head,
                              const at::Tensor& targets, const HeadOptions& options) {
  const at::Tensor rows = hidden.contiguous();
  const int64_t limit = CheckHead(rows, head, options);
  const at::Tensor ids = targets.contiguous();
  CheckTargets(ids, rows.size(0), limit);
  const variable_list out = HeadFunction::apply(
      rows, head.weight, head.bias.defined() ? std::optional<at::Tensor>(head.bias) : std::nullopt,
      tensor::Upload(ids, rows.device()), options.temperature, options.soft_cap, limit,
      options.mask.excluded);
  return {out[0], out[1]};
}

}  // namespace retort::model
