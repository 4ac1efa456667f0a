#include "common/model/vocab_head.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/base/check.h"
#include "common/model/head_tiles.h"
#include "common/model/portable_vocab_head.h"
#include "common/model/simd.h"
#include "common/tensor/aten.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Candidate {
  float z;
  int64_t id;

  bool operator<(const Candidate& other) const {  // Likelier first.
    return z != other.z ? z > other.z : id < other.id;
  }
};

// What is known of one row after some ids.
struct RowState {
  float max = kNone;
  int64_t argmax = 0;
  double sum = 0;       // Of e^((z - max) * scale).
  double weighted = 0;  // Of (z - max) * scale * e^((z - max) * scale).
  float target = kNone;
  std::vector<Candidate> top;  // Sorted; at most k.
};

// Sums of one row of a tile relative to `max`.
struct SumKernel {
  const float* z;
  int64_t count;
  float max, scale;
  bool entropy;
  double* sum;
  double* weighted;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    simd::Float<kBytes> sums{}, products{};
    for (int64_t i = 0; i < count; i += kLanes) {
      simd::Float<kBytes> x, e;
      LoadPadded<kBytes>(i, x);
      x = (x - max) * scale;
      e = x;
      simd::Exp<kBytes>(e);
      sums += e;
      // e is 0 below -87: there 0 * x must be 0, also for -inf.
      if (entropy) {
        x = x > -100.0f ? x : simd::Float<kBytes>{};
        products += x * e;
      }
    }
    *sum = simd::Sum<kBytes>(sums);
    *weighted = simd::Sum<kBytes>(products);
  }

  template <int kBytes>
  RETORT_INLINE void LoadPadded(int64_t i, simd::Float<kBytes>& x) const {
    constexpr int kLanes = kBytes / 4;
    if (i + kLanes <= count) return simd::Load<kBytes>(z + i, x);
    float lanes[kLanes];
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] = i + k < count ? z[i + k] : kNone;
    simd::Load<kBytes>(lanes, x);
  }
};

struct TileMaxKernel {
  const float* z;
  int64_t count;
  float* max;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    simd::Float<kBytes> best = simd::Float<kBytes>{} + kNone;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      simd::Float<kBytes> x;
      simd::Load<kBytes>(z + i, x);
      best = x > best ? x : best;
    }
    float largest = kNone;
    for (int lane = 0; lane < kLanes; ++lane) largest = best[lane] > largest ? best[lane] : largest;
    for (; i < count; ++i) largest = z[i] > largest ? z[i] : largest;
    *max = largest;
  }
};

void KeepTop(const float* z, int64_t first, int64_t count, int64_t k, std::vector<Candidate>* top) {
  for (int64_t i = 0; i < count; ++i) {
    const Candidate candidate{z[i], first + i};
    const bool full = static_cast<int64_t>(top->size()) == k;
    if (!(z[i] > kNone) || (full && !(candidate < top->back()))) continue;
    if (full) top->pop_back();
    top->insert(std::upper_bound(top->begin(), top->end(), candidate), candidate);
  }
}

// Adds ids [first, first + count) of a row to what is known of it.
void Absorb(const HeadView& view, const HeadWants& wants, const float* z, int64_t first,
            int64_t count, int64_t target, RowState* row) {
  float max;
  simd::Dispatch(TileMaxKernel{z, count, &max});
  if (max > row->max) {
    if (wants.argmax) row->argmax = first + (std::find(z, z + count, max) - z);
    // The sums so far relative to the new maximum. Before the first tile they are 0.
    if (row->max > kNone) {
      const double shift = (static_cast<double>(row->max) - max) * view.scale;
      const double factor = std::exp(shift);
      row->weighted = factor * (row->weighted + shift * row->sum);
      row->sum *= factor;
    }
    row->max = max;
  }
  if (row->max > kNone || !(max == kNone)) {
    double sum = 0, weighted = 0;
    simd::Dispatch(SumKernel{z, count, row->max, view.scale, wants.entropy, &sum, &weighted});
    row->sum += sum;
    row->weighted += weighted;
  }
  if (target >= first && target < first + count) row->target = z[target - first];
  if (wants.top_k > 0) KeepTop(z, first, count, wants.top_k, &row->top);
}

// Where a call's results go; null where they are not wanted.
struct OutputView {
  const int64_t* targets = nullptr;
  float* log_probs = nullptr;
  float* log_sum_exp = nullptr;
  float* entropy = nullptr;
  int64_t* argmax = nullptr;
  int64_t* top_ids = nullptr;
  float* top_log_probs = nullptr;
  float* tail_mass = nullptr;
};

void Conclude(const HeadView& view, const RowState& row, int64_t r, int64_t k,
              const OutputView& out) {
  const double log_sum = std::log(row.sum);
  const double lse = static_cast<double>(row.max) * view.scale + log_sum;
  out.log_sum_exp[r] = static_cast<float>(lse);
  const auto log_prob = [&](float z) {
    return static_cast<float>((static_cast<double>(z) - row.max) * view.scale - log_sum);
  };
  if (out.log_probs != nullptr) out.log_probs[r] = log_prob(row.target);
  if (out.entropy != nullptr) {
    out.entropy[r] = static_cast<float>(log_sum - row.weighted / row.sum);
  }
  if (out.argmax != nullptr) out.argmax[r] = row.argmax;
  if (k == 0) return;
  double mass = 0;
  for (int64_t i = 0; i < k; ++i) {
    const bool known = i < static_cast<int64_t>(row.top.size());  // Short of k only with NaN.
    out.top_ids[r * k + i] = known ? row.top[i].id : 0;
    out.top_log_probs[r * k + i] =
        known ? log_prob(row.top[i].z) : std::numeric_limits<float>::quiet_NaN();
    if (known) mass += std::exp((static_cast<double>(row.top[i].z) - row.max) * view.scale);
  }
  out.tail_mass[r] = static_cast<float>(std::max(0.0, (row.sum - mass) / row.sum));
}

// The rows of one task through the packed ids.
void RunTask(const HeadView& view, const HeadWants& wants, const OutputView& out,
             const PackedColumns& packed, int64_t packed_first, int64_t row, int64_t rows,
             std::vector<float>* tile, GemmScratch* scratch, RowState* states) {
  const int64_t stride = TileStride(std::min(kTileIds, packed.columns()));
  tile->resize(rows * stride);
  const int64_t packed_last = packed_first + packed.columns();
  for (int64_t first = packed_first; first < packed_last; first += kTileIds) {
    const int64_t count = std::min(kTileIds, packed_last - first);
    FillTile(view, packed, packed_first, row, rows, first, count, tile->data(), stride, scratch);
    for (int64_t r = 0; r < rows; ++r) {
      const float* z = tile->data() + r * stride;
      const int64_t target = out.targets == nullptr ? -1 : out.targets[row + r];
      Absorb(view, wants, z, first, count, target, &states[row + r]);
      if (wants.sink != nullptr) wants.sink(row + r, first, {z, static_cast<size_t>(count)});
    }
  }
}

void RunAll(const HeadView& view, const HeadWants& wants, const OutputView& out) {
  std::vector<RowState> states(view.rows);
  const int64_t task = RowsPerTask(view.rows);
  const int64_t tasks = (view.rows + task - 1) / task;
  PackedColumns packed;
  std::vector<float> widened;
  for (int64_t first = 0; first < view.limit; first += kPackedIds) {
    const int64_t count = std::min(kPackedIds, view.limit - first);
    packed.Pack({WideRows(view, first, count, &widened), 1, view.width}, view.width, count);
    at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> tile;
      GemmScratch scratch;
      for (int64_t t = begin; t < end; ++t) {
        RunTask(view, wants, out, packed, first, t * task, std::min(task, view.rows - t * task),
                &tile, &scratch, states.data());
      }
    });
  }
  for (int64_t r = 0; r < view.rows; ++r) Conclude(view, states[r], r, wants.top_k, out);
}

// Makes what is wanted; returns where it goes.
OutputView Allocate(int64_t rows, bool targets, const HeadWants& wants, HeadOutput* output) {
  OutputView out;
  const auto floats = [](at::Tensor& to, at::IntArrayRef shape) {
    to = at::empty(shape, at::kFloat);
    return to.mutable_data_ptr<float>();
  };
  const auto longs = [](at::Tensor& to, at::IntArrayRef shape) {
    to = at::empty(shape, at::kLong);
    return to.mutable_data_ptr<int64_t>();
  };
  out.log_sum_exp = floats(output->log_sum_exp, {rows});
  if (targets) out.log_probs = floats(output->log_probs, {rows});
  if (wants.entropy) out.entropy = floats(output->entropy, {rows});
  if (wants.argmax) out.argmax = longs(output->argmax, {rows});
  if (wants.top_k > 0) {
    out.top_ids = longs(output->top_ids, {rows, wants.top_k});
    out.top_log_probs = floats(output->top_log_probs, {rows, wants.top_k});
    out.tail_mass = floats(output->tail_mass, {rows});
  }
  return out;
}

}  // namespace

HeadOutput HeadForward(const at::Tensor& hidden, const HeadWeights& head, const at::Tensor& targets,
                       const HeadOptions& options, const HeadWants& wants) {
  const at::NoGradGuard no_grad;
  const at::Tensor rows = hidden.contiguous();
  const int64_t limit = CheckHead(rows, head, options);
  RETORT_CHECK(wants.top_k >= 0 &&
               wants.top_k <= limit - static_cast<int64_t>(options.mask.excluded.size()))
      << "top " << wants.top_k << " of " << limit;
  const at::Tensor ids = targets.defined() ? targets.contiguous() : targets;
  if (ids.defined()) CheckTargets(ids, rows.size(0), limit);
  if (!rows.is_cpu()) {
    const at::Tensor there = ids.defined() ? tensor::Upload(ids, rows.device()) : ids;
    return portable::HeadForward(rows, head, there, options, wants);
  }
  HeadOutput output;
  OutputView out = Allocate(rows.size(0), targets.defined(), wants, &output);
  if (ids.defined()) out.targets = ids.const_data_ptr<int64_t>();
  RunAll(ViewOf(rows, head, options), wants, out);
  return output;
}

}  // namespace retort::model
