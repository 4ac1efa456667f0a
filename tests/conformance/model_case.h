// What the model ops share: padded inputs as packed sequences and back, a model from its folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/model.h"
#include "common/tensor/aten.h"
#include "common/tensor/parameter_arena.h"
#include "conformance/op_call.h"

namespace retort::conformance {

// The attended ids of every row, and where in [B, T] each of them came from, row by row.
struct Attended {
  int64_t rows = 0, columns = 0;
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> cells;  // row * columns + column
};

Attended AttendedOf(const at::Tensor& ids, const at::Tensor& mask);

// values [N, ...] of the attended tokens, on any device, into [B, T, ...] on the CPU, 0 elsewhere.
at::Tensor Scatter(const Attended& attended, const at::Tensor& values);

struct LoadedModel {
  tensor::ParameterArena arena;  // Of the base.
  model::Model model;
};

// On the call's device. Tells `call` the family first.
absl::StatusOr<LoadedModel> LoadModel(Parameters& call, const std::string& folder, bool value_head);

// The same with the adapter of the folder `adapter`, applied, not merged.
absl::StatusOr<LoadedModel> LoadAdapted(Parameters& call, const std::string& folder,
                                        const std::string& adapter);

}  // namespace retort::conformance
