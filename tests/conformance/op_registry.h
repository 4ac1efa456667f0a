// The ops that this build supports. Each room's ops are one file, `<room>_ops.cc`, with one
// function here.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/json.h"
#include "common/tensor/tensor_file.h"
#include "conformance/op_call.h"

namespace retort::conformance {

// UNIMPLEMENTED from an op means that this build lacks what the case needs (a model family ...):
// the case is UNSUPPORTED. Every other error is a refusal of the input.
struct Op {
  // Exactly one of the two is set.
  std::function<absl::StatusOr<tensor::TensorMap>(TensorCall&)> tensors;
  std::function<absl::StatusOr<Json>(LineCall&)> line;
  std::vector<std::string> line_inputs;  // Keys of a flat line that are inputs.
};

using OpRegistry = std::map<std::string, Op>;

void RegisterChatOps(OpRegistry* registry);
void RegisterKlOps(OpRegistry* registry);
void RegisterPpoOps(OpRegistry* registry);
void RegisterPpoStepOps(OpRegistry* registry);
void RegisterOptimizerOps(OpRegistry* registry);
void RegisterModelOps(OpRegistry* registry);
void RegisterModelTrainOps(OpRegistry* registry);
void RegisterSampleOps(OpRegistry* registry);
void RegisterTokenizerOps(OpRegistry* registry);

// Everything above.
OpRegistry AllOps();

}  // namespace retort::conformance
