// Rotary position embedding: the angles of a config, as tables of cosines and sines.
#pragma once

#include <cstdint>
#include <vector>

#include "common/layout/model_config.h"
#include "common/tensor/aten.h"

namespace retort::model {

// Row p holds rotary_dim / 2 values, the angles of position p. Both contiguous.
struct RopeView {
  const float* cos = nullptr;
  const float* sin = nullptr;
};

// The same as tensors of any device, [positions, rotary_dim / 2] each: what keeps the memory alive.
struct RopeAngles {
  at::Tensor cos;
  at::Tensor sin;

  // Of the CPU.
  RopeView view() const { return {cos.const_data_ptr<float>(), sin.const_data_ptr<float>()}; }
};

// Angles are computed as Hugging Face does: inverse frequencies and their product with the position
// in float32. On the CPU, whatever device they are for: all have the same bits. Not thread-safe:
// the tables grow with the positions asked for.
class RopeTable {
 public:
  // rotary_dim 0: tables without columns. The tables lie on `device`.
  RopeTable(const layout::RopeConfig& config, int64_t rotary_dim, int64_t max_positions,
            const at::Device& device = at::kCPU);

  // Tables for at least positions [0, positions). CHECKs positions <= max_positions.
  const RopeAngles& Cover(int64_t positions);

 private:
  int64_t max_positions_;
  at::Device device_;
  std::vector<float> frequencies_;  // [rotary_dim / 2]
  int64_t covered_ = 0;
  RopeAngles angles_;  // [covered_, rotary_dim / 2]
};

// 1 / theta^(2 i / rotary_dim), scaled as the rope type says.
std::vector<float> InverseFrequencies(const layout::RopeConfig& config, int64_t rotary_dim);

}  // namespace retort::model
