// What a slot of the weight ring says of its version, as the annotation of the tensor. Internal to
// ring/.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/ring/tensor_header.h"

namespace retort::ring {

inline constexpr int kMaxCanaryFloats = 64;

struct WeightLabel {
  Digest digest;              // Of the weights' bytes, widened to fp32.
  std::vector<float> canary;  // At most kMaxCanaryFloats.
};

std::string EncodeWeightLabel(const WeightLabel& label);

// Errors: DATA_LOSS the annotation is damaged, or the digest is not `expected`, with both.
absl::StatusOr<WeightLabel> ReadWeightLabel(const TensorHeader& header, const Digest& expected);

}  // namespace retort::ring
