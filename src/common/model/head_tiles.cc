#include "common/model/head_tiles.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "common/model/attention_math.h"
#include "common/model/simd.h"

namespace retort::model {
namespace {

constexpr int64_t kMostRows = 192;  // A tile of kTileIds columns stays in the second-level cache.
constexpr int64_t kRowUnit = 6;     // What packed_gemm computes at once.

// Bias and cap of one row of a tile, in whole vectors and by the same instructions for the tail.
struct FinishKernel {
  float* x;
  const float* bias;
  int64_t n;
  float cap;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    int64_t i = 0;
    if (bias != nullptr) {
      for (; i + kLanes <= n; i += kLanes) {
        simd::Float<kBytes> a, b;
        simd::Load<kBytes>(x + i, a);
        simd::Load<kBytes>(bias + i, b);
        simd::Store<kBytes>(a + b, x + i);
      }
      for (; i < n; ++i) x[i] += bias[i];
    }
    if (cap == 0) return;
    for (i = 0; i + kLanes <= n; i += kLanes) CapScores<kBytes>(x + i, kLanes, 1.0f, cap);
    if (i == n) return;
    float lanes[kLanes] = {};
    std::copy(x + i, x + n, lanes);
    CapScores<kBytes>(lanes, kLanes, 1.0f, cap);
    std::copy(lanes, lanes + (n - i), x + i);
  }
};

}  // namespace

int64_t RowsPerTask(int64_t rows) {
  const int64_t some = (rows / 8 + kRowUnit) / kRowUnit * kRowUnit;
  return std::clamp(some, kRowUnit, kMostRows);
}

int64_t TileStride(int64_t ids) { return simd::PadLanes(ids) + simd::kMaxLanes; }

int64_t CheckHead(const at::Tensor& hidden, const HeadWeights& head, const HeadOptions& options) {
  const at::Tensor& weight = head.weight;
  RETORT_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1) &&
               hidden.is_contiguous() && weight.is_contiguous())
      << "hidden states and head do not fit";
  RETORT_CHECK(!head.bias.defined() || head.bias.numel() == weight.size(0)) << "another bias";
  RETORT_CHECK(options.temperature > 0) << "temperature " << options.temperature;
  const int64_t vocab = weight.size(0);
  const int64_t limit = options.mask.limit == 0 ? vocab : options.mask.limit;
  RETORT_CHECK(limit >= 1 && limit <= vocab) << "limit " << limit;
  return limit;
}

void CheckTargets(const at::Tensor& targets, int64_t rows, int64_t limit) {
  RETORT_CHECK(targets.numel() == rows && targets.scalar_type() == at::kLong &&
               targets.is_contiguous())
      << "other targets";
  if (!targets.is_cpu()) return;
  const int64_t* const ids = targets.const_data_ptr<int64_t>();
  for (int64_t r = 0; r < rows; ++r) {
    RETORT_CHECK(ids[r] >= 0 && ids[r] < limit) << "target " << ids[r];
  }
}

HeadView ViewOf(const at::Tensor& hidden, const HeadWeights& head, const HeadOptions& options) {
  const int64_t limit = CheckHead(hidden, head, options);
  return {hidden.const_data_ptr<float>(),
          hidden.size(0),
          hidden.size(1),
          MatrixOf(head.weight),
          head.bias.defined() ? head.bias.const_data_ptr<float>() : nullptr,
          limit,
          &options.mask.excluded,
          static_cast<float>(1.0 / options.temperature),
          static_cast<float>(options.soft_cap)};
}

const float* WideRows(const HeadView& view, int64_t first, int64_t count,
                      std::vector<float>* scratch) {
  const WeightMatrix rows = OutputRange(view.weight, first, count);
  if (rows.type == WeightType::kFloat32) return static_cast<const float*>(rows.data);
  scratch->resize(count * view.width);
  WidenRows(rows, scratch->data());
  return scratch->data();
}

void FillTile(const HeadView& view, const PackedColumns& packed, int64_t packed_first, int64_t row,
              int64_t rows, int64_t first, int64_t count, float* tile, int64_t stride,
              GemmScratch* scratch) {
  MultiplyPacked({view.hidden + row * view.width, view.width, 1}, rows, packed,
                 first - packed_first, first - packed_first + count, /*add=*/false, tile, stride,
                 scratch);
  const auto begin = std::lower_bound(view.excluded->begin(), view.excluded->end(), first);
  const auto end = std::lower_bound(begin, view.excluded->end(), first + count);
  for (int64_t r = 0; r < rows; ++r) {
    float* const x = tile + r * stride;
    if (view.bias != nullptr || view.cap != 0) {
      simd::Dispatch(
          FinishKernel{x, view.bias == nullptr ? nullptr : view.bias + first, count, view.cap});
    }
    for (auto id = begin; id != end; ++id) {
      x[*id - first] = -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace retort::model
