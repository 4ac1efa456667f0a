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
double Llama3Frequency(const layout::RopeConfig& c, double frequency) {
  const double context = static_cast<double>(c.original_max_position_embeddings);
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength > context / c.low_freq_factor) return frequency / c.factor;
  if (wavelength < context / c.high_freq_factor) return frequency;
  const double smooth =
      (context / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return (1.0 - smooth) * frequency / c.factor + smooth * frequency;
}

}  // namespace

std::vector<float> InverseFrequencies(const layout::RopeConfig& config, int64_t rotary_dim) {
  std::vector<float> frequencies(rotary_dim / 2);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    double frequency = std::pow(config.theta, -2.0 * static_cast<double>(i) / rotary_dim);
    if (config.type == layout::RopeType::kLinear) frequency /= config.factor;
    if (config.type == layout::RopeType::kLlama3) frequency = Llama3Frequency(config, frequency);
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

RopeTable::RopeTable(const layout::RopeConfig& config, int64_t rotary_dim, int64_t max_positions)
    : max_positions_(max_positions), frequencies_(InverseFrequencies(config, rotary_dim)) {}

const RopeAngles& RopeTable::Cover(int64_t positions) {
  RETORT_CHECK(positions <= max_positions_)
      << positions << " positions of a model with " << max_positions_;
  if (positions <= covered_) return angles_;
  const int64_t half = static_cast<int64_t>(frequencies_.size());
  covered_ = std::min(max_positions_, std::max({positions, 2 * covered_, kFirstPositions}));
  // Generation grows the table in inference mode, whose tensors no later backward could use.
  const c10::InferenceMode normal(false);
  // New tensors: a graph that waits for its backward keeps the old ones.
  angles_.cos = at::empty({covered_, half}, at::kFloat);
  angles_.sin = at::empty({covered_, half}, at::kFloat);
  float* cos = angles_.cos.data_ptr<float>();
  float* sin = angles_.sin.data_ptr<float>();
  for (int64_t p = 0; p < covered_; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<float>(p) * frequencies_[i];
      cos[p * half + i] = static_cast<float>(std::cos(angle));
      sin[p * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return angles_;
}

}  // namespace retort::model
