#include "common/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/check.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

constexpr int64_t kFirstPositions = 64;

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
at::Tensor Llama3Frequencies(const layout::RopeConfig& c, const at::Tensor& frequencies) {
  const double context = static_cast<double>(c.original_max_position_embeddings);
  const at::Tensor wavelengths = frequencies.reciprocal().mul(2.0 * std::numbers::pi);
  const at::Tensor is_long = wavelengths > context / c.low_freq_factor;
  const at::Tensor is_short = wavelengths < context / c.high_freq_factor;
  const at::Tensor smooth = (wavelengths.reciprocal().mul(context) - c.low_freq_factor) /
                            (c.high_freq_factor - c.low_freq_factor);
  const at::Tensor blended = (1.0 - smooth) * frequencies / c.factor + smooth * frequencies;
  return (frequencies / c.factor).where(is_long, frequencies.where(is_short, blended));
}

}  // namespace

// Every operation is Transformers', in float32: exact frequencies would differ from its in the last
// bit, which thousands of positions multiply.
std::vector<float> InverseFrequencies(const layout::RopeConfig& config, int64_t rotary_dim) {
  if (rotary_dim == 0) return {};
  const at::Tensor exponents = at::arange(0, rotary_dim, 2, at::kFloat) / rotary_dim;
  at::Tensor frequencies =
      at::empty_like(exponents).fill_(config.theta).pow(exponents).reciprocal();
  if (config.type == layout::RopeType::kLinear) frequencies = frequencies / config.factor;
  if (config.type == layout::RopeType::kLlama3) {
    frequencies = Llama3Frequencies(config, frequencies);
  }
  const float* const data = frequencies.const_data_ptr<float>();
  return std::vector<float>(data, data + frequencies.numel());
}

RopeTable::RopeTable(const layout::RopeConfig& config, int64_t rotary_dim, int64_t max_positions,
                     const at::Device& device)
    : max_positions_(max_positions),
      device_(device),
      frequencies_(InverseFrequencies(config, rotary_dim)) {}

const RopeAngles& RopeTable::Cover(int64_t positions) {
  RETORT_CHECK(positions <= max_positions_)
      << positions << " positions of a model with " << max_positions_;
  if (positions <= covered_) return angles_;
  const int64_t half = static_cast<int64_t>(frequencies_.size());
  covered_ = std::min(max_positions_, std::max({positions, 2 * covered_, kFirstPositions}));
  // Generation grows the table in inference mode, whose tensors no later backward could use.
  const c10::InferenceMode normal(false);
  // New tensors: a graph that waits for its backward keeps the old ones.
  const at::Tensor cosines = at::empty({covered_, half}, at::kFloat);
  const at::Tensor sines = at::empty({covered_, half}, at::kFloat);
  float* const cos = cosines.data_ptr<float>();
  float* const sin = sines.data_ptr<float>();
  for (int64_t p = 0; p < covered_; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<float>(p) * frequencies_[i];
      cos[p * half + i] = static_cast<float>(std::cos(angle));
      sin[p * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  angles_ = {cosines.to(device_), sines.to(device_)};
  return angles_;
}

}  // namespace retort::model
