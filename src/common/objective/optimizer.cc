#include "common/objective/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/check.h"
#include "common/tensor/aten.h"

namespace retort::objective {
namespace {

constexpr int64_t kBlock = 16384;
constexpr int64_t kDeviceBlock = int64_t{1} << 24;

template <typename T>
double BlockSumOfSquares(const T* data, int64_t count) {
  // Eight chains hide the latency of the additions; their order is fixed.
  double chain[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      const double x = static_cast<double>(data[i + j]);
      chain[j] += x * x;
    }
  }
  for (; i < count; ++i) chain[0] += static_cast<double>(data[i]) * static_cast<double>(data[i]);
  double sum = 0;
  for (const double part : chain) sum += part;
  return sum;
}

template <typename T>
double BlockedSumOfSquares(const at::Tensor& gradient) {
  const T* data = gradient.const_data_ptr<T>();
  const int64_t count = gradient.numel();
  std::vector<double> partial((count + kBlock - 1) / kBlock);
  at::parallel_for(0, static_cast<int64_t>(partial.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock;
      partial[block] = BlockSumOfSquares(data + first, std::min(kBlock, count - first));
    }
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  return sum;
}

// A sum in float64 begins with a copy in float64 there, which of all gradients at once would take
// twice their memory.
double DeviceSumOfSquares(const at::Tensor& gradient) {
  const at::Tensor flat = gradient.flatten();
  std::vector<at::Tensor> squares;
  for (int64_t first = 0; first < flat.numel(); first += kDeviceBlock) {
    const int64_t count = std::min(kDeviceBlock, flat.numel() - first);
    squares.push_back(flat.narrow(0, first, count).norm(2, at::kDouble).square());
  }
  return squares.empty() ? 0.0 : at::stack(squares).sum().item<double>();
}

}  // namespace

void AdamWUpdate(at::Tensor parameter, const at::Tensor& gradient, at::Tensor exp_avg,
                 at::Tensor exp_avg_sq, int64_t step, double lr, const AdamWOptions& options) {
  RETORT_CHECK(step >= 1) << "AdamW counts updates from 1, not " << step;
  if (parameter.numel() == 0) return;
  at::NoGradGuard no_grad;
  const at::Tensor state_step =
      at::full({}, static_cast<double>(step), parameter.options().dtype(at::kFloat));
  at::_fused_adamw_({parameter}, {gradient}, {exp_avg}, {exp_avg_sq}, /*max_exp_avg_sqs=*/{},
                    {state_step}, lr, options.beta1, options.beta2, options.weight_decay,
                    options.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void RmspropUpdate(at::Tensor parameter, const at::Tensor& gradient, at::Tensor square_avg,
                   at::Tensor momentum_buffer, double lr, const RmspropOptions& options) {
  at::NoGradGuard no_grad;
  const at::Tensor g =
      options.weight_decay == 0 ? gradient : gradient.add(parameter, options.weight_decay);
  square_avg.mul_(options.alpha).addcmul_(g, g, 1 - options.alpha);
  at::Tensor update = g / square_avg.sqrt().add_(options.eps);
  if (options.momentum > 0) {
    momentum_buffer.mul_(options.momentum).add_(update);
    update = momentum_buffer;
  }
  parameter.sub_(update, lr);
}

double SumOfSquares(const at::Tensor& gradient) {
  if (!gradient.is_cpu()) return DeviceSumOfSquares(gradient);
  const at::Tensor flat = gradient.contiguous();
  if (flat.scalar_type() == at::kDouble) return BlockedSumOfSquares<double>(flat);
  RETORT_CHECK(flat.scalar_type() == at::kFloat) << "gradients are float32 or float64";
  return BlockedSumOfSquares<float>(flat);
}

double ClipFactor(double norm, double max_norm) { return std::min(1.0, max_norm / (norm + 1e-6)); }

double ClipGradNorm(absl::Span<const at::Tensor> gradients, double max_norm) {
  double squares = 0;
  for (const at::Tensor& gradient : gradients) squares += SumOfSquares(gradient);
  const double norm = std::sqrt(squares);
  const double factor = ClipFactor(norm, max_norm);
  if (!std::isfinite(norm) || factor == 1) return norm;
  at::NoGradGuard no_grad;
  for (at::Tensor gradient : gradients) gradient.mul_(factor);
  return norm;
}

}  // namespace retort::objective
