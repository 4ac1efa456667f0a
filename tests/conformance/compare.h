// Got against expected, with the rules of a case: |got - want| <= atol + rtol |want| for floats,
// NaN equals NaN, integers, bools and texts exactly, shape and dtype as stored, nothing missing and
// nothing extra.
#pragma once

#include <string>

#include "common/base/json.h"
#include "common/tensor/tensor_file.h"
#include "nlohmann/json.hpp"

namespace retort::conformance {

struct Tolerance {
  double rtol = 0;
  double atol = 0;
};

struct Comparison {
  double max_error = 0;  // Largest |got - want| of the floats; integers that differ fail instead.
  std::string problem;   // Empty: equal within the tolerance. Else one line naming the worst place.
};

// Outputs named grad.* and param.* may be more than expected.
Comparison CompareTensors(const tensor::TensorMap& got, const tensor::TensorMap& want,
                          const Tolerance& tolerance);

// A number counts as a float if either side is written as one.
Comparison CompareJson(const Json& got, const Json& want, const Tolerance& tolerance);

}  // namespace retort::conformance
