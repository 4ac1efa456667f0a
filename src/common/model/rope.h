// Rotary position embedding: the angles of a config, as tables of cosines and sines.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "common/layout/model_config.h"

namespace retort::model {

// Row p holds head_dim / 2 values, the angles of position p. Both contiguous.
struct RopeView {
  const float* cos = nullptr;
  const float* sin = nullptr;
};

// The same as tensors, [positions, head_dim / 2] each: what keeps the memory alive.
struct RopeAngles {
  at::Tensor cos;
  at::Tensor sin;

  RopeView view() const { return {cos.const_data_ptr<float>(), sin.const_data_ptr<float>()}; }
};

// Angles are computed as Hugging Face does: inverse frequencies and their product with the position
// in float32. Not thread-safe: the tables grow with the positions asked for.
class RopeTable {
 public:
  RopeTable(const layout::RopeConfig& config, int64_t head_dim, int64_t max_positions);

  // Tables for at least positions [0, positions). CHECKs positions <= max_positions.
  const RopeAngles& Cover(int64_t positions);

 private:
  const int64_t max_positions_;
  std::vector<float> frequencies_;  // [head_dim / 2]
  int64_t covered_ = 0;
  RopeAngles angles_;  // [covered_, head_dim / 2]
};

// 1 / theta^(2 i / head_dim), scaled as the rope type says.
std::vector<float> InverseFrequencies(const layout::RopeConfig& config, int64_t head_dim);

}  // namespace retort::model
