#include "common/model/log_prob.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "common/base/check.h"
#include "common/model/simd.h"

namespace retort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kChunkElements = int64_t{1} << 22;  // Logits kept at once: 16 MiB.
constexpr int64_t kGrainElements = 1 << 15;

int64_t ChunkRows(int64_t vocab) { return std::max<int64_t>(1, kChunkElements / vocab); }

// Statistics of softmax(logits / temperature) of one row.
struct RowStats {
  float max = 0;      // Largest logit.
  float log_sum = 0;  // Log of the sum of e^((logit - max) / temperature).
  float entropy = 0;
};

struct StatsKernel {
  const float* logits;
  int64_t count;
  float scale;  // 1 / temperature
  RowStats* stats;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    float max = logits[0];
    for (int64_t i = 1; i < count; ++i) max = logits[i] > max ? logits[i] : max;
    double sum = 0, weighted = 0;
    for (int64_t i = 0; i < count; i += kLanes) {
      float lanes[kLanes];
      const int64_t valid = std::min<int64_t>(kLanes, count - i);
      for (int64_t k = 0; k < kLanes; ++k) lanes[k] = k < valid ? logits[i + k] : -INFINITY;
      simd::Float<kBytes> x, e;
      simd::Load<kBytes>(lanes, x);
      x = (x - max) * scale;
      e = x;
      simd::Exp<kBytes>(e);
      sum += simd::Sum<kBytes>(e);
      // e is 0 below -87: there 0 * x must be 0, also for -inf.
      x = x > -100.0f ? x : simd::Float<kBytes>{};
      weighted += simd::Sum<kBytes>(x * e);
    }
    stats->max = max;
    stats->log_sum = static_cast<float>(std::log(sum));
    stats->entropy = static_cast<float>(std::log(sum) - weighted / sum);
  }
};

// In place: logits -> derivative of  g_log_prob * log_prob(target) + g_entropy * entropy.
struct GradientKernel {
  float* row;
  int64_t count, vocab, target;
  float scale;
  RowStats stats;
  float g_log_prob, g_entropy;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t i = 0; i < count; i += kLanes) {
      float lanes[kLanes] = {};
      const int64_t valid = std::min<int64_t>(kLanes, count - i);
      for (int64_t k = 0; k < valid; ++k) lanes[k] = row[i + k];
      simd::Float<kBytes> x, p;
      simd::Load<kBytes>(lanes, x);
      x = (x - stats.max) * scale - stats.log_sum;
      p = x;
      simd::Exp<kBytes>(p);
      x = -p * (g_log_prob + g_entropy * (x + stats.entropy)) * scale;
      simd::Store<kBytes>(x, lanes);
      for (int64_t k = 0; k < valid; ++k) row[i + k] = lanes[k];
    }
    row[target] += g_log_prob * scale;
    std::fill(row + count, row + vocab, 0.0f);
  }
};

struct Setting {
  double temperature;
  int64_t limit;
  float scale() const { return static_cast<float>(1.0 / temperature); }
};

// Calls body(first row, logits [rows, V] of those rows) for chunk after chunk.
template <typename Body>
void ForChunks(const at::Tensor& hidden, const at::Tensor& weight, const Body& body) {
  const at::Tensor transposed = weight.t();
  const int64_t chunk = ChunkRows(weight.size(0));
  for (int64_t first = 0; first < hidden.size(0); first += chunk) {
    const int64_t rows = std::min(chunk, hidden.size(0) - first);
    body(first, at::mm(hidden.narrow(0, first, rows), transposed));
  }
}

struct LogProbFunction : torch::autograd::Function<LogProbFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& weight, const at::Tensor& targets,
                               double temperature, int64_t limit) {
    const Setting setting{temperature, limit};
    const int64_t vocab = weight.size(0);
    at::Tensor log_probs = at::empty({hidden.size(0)}, hidden.options());
    at::Tensor entropy = at::empty({hidden.size(0)}, hidden.options());
    const int64_t* ids = targets.const_data_ptr<int64_t>();
    ForChunks(hidden, weight, [&](int64_t first, const at::Tensor& logits) {
      const float* data = logits.const_data_ptr<float>();
      float* out = log_probs.mutable_data_ptr<float>() + first;
      float* entropies = entropy.mutable_data_ptr<float>() + first;
      at::parallel_for(0, logits.size(0), std::max<int64_t>(1, kGrainElements / vocab),
                       [&](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; ++i) {
                           const float* row = data + i * vocab;
                           RowStats stats;
                           simd::Dispatch(StatsKernel{row, limit, setting.scale(), &stats});
                           out[i] =
                               (row[ids[first + i]] - stats.max) * setting.scale() - stats.log_sum;
                           entropies[i] = stats.entropy;
                         }
                       });
    });
    ctx->save_for_backward({hidden, weight, targets});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["limit"] = limit;
    ctx->set_materialize_grads(false);
    return {log_probs, entropy};
  }

  // logits -> their derivatives, in place.
  static void Differentiate(const at::Tensor& logits, const int64_t* ids, const float* g_log_probs,
                            const float* g_entropy, const Setting& setting) {
    const int64_t vocab = logits.size(1);
    float* data = logits.mutable_data_ptr<float>();
    at::parallel_for(
        0, logits.size(0), std::max<int64_t>(1, kGrainElements / vocab),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            float* row = data + i * vocab;
            RowStats stats;
            simd::Dispatch(StatsKernel{row, setting.limit, setting.scale(), &stats});
            simd::Dispatch(GradientKernel{row, setting.limit, vocab, ids[i], setting.scale(), stats,
                                          g_log_probs == nullptr ? 0.0f : g_log_probs[i],
                                          g_entropy == nullptr ? 0.0f : g_entropy[i]});
          }
        });
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1];
    const Setting setting{ctx->saved_data["temperature"].toDouble(),
                          ctx->saved_data["limit"].toInt()};
    const at::Tensor g0 = grads[0].defined() ? grads[0].contiguous() : at::Tensor();
    const at::Tensor g1 = grads[1].defined() ? grads[1].contiguous() : at::Tensor();
    at::Tensor dhidden, dweight;
    if (ctx->needs_input_grad(0)) dhidden = at::empty_like(hidden);
    if (ctx->needs_input_grad(1)) dweight = at::zeros_like(weight);
    const int64_t* ids = saved[2].const_data_ptr<int64_t>();
    ForChunks(hidden, weight, [&](int64_t first, const at::Tensor& logits) {
      Differentiate(logits, ids + first,
                    g0.defined() ? g0.const_data_ptr<float>() + first : nullptr,
                    g1.defined() ? g1.const_data_ptr<float>() + first : nullptr, setting);
      const int64_t rows = logits.size(0);
      if (dhidden.defined()) {
        at::Tensor out = dhidden.narrow(0, first, rows);
        at::mm_out(out, logits, weight);
      }
      if (dweight.defined()) dweight.addmm_(logits.t(), hidden.narrow(0, first, rows));
    });
    const at::Tensor none;
    return {dhidden, dweight, none, none, none};
  }
};

}  // namespace

SelectedLogProbs LogProbsOf(const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& targets, double temperature, int64_t vocab_limit) {
  RETORT_CHECK(hidden.dim() == 2 && hidden.size(1) == weight.size(1) &&
               targets.numel() == hidden.size(0) && targets.scalar_type() == at::kLong)
      << "log-probs of " << targets.numel() << " targets from " << hidden.size(0) << " rows";
  RETORT_CHECK(temperature > 0) << "temperature " << temperature;
  RETORT_CHECK(vocab_limit >= 1 && vocab_limit <= weight.size(0)) << "limit " << vocab_limit;
  const at::Tensor ids = targets.contiguous();
  const int64_t* data = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) {
    RETORT_CHECK(data[i] >= 0 && data[i] < vocab_limit) << "target " << data[i];
  }
  const variable_list out =
      LogProbFunction::apply(hidden.contiguous(), weight, ids, temperature, vocab_limit);
  return {out[0], out[1]};
}

}  // namespace retort::model
