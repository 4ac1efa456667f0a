// Mean and variance of all scores seen so far (Chan's parallel update), kept in float64.
// Source: intel-extension-for-transformers RunningMoments.
#pragma once

#include "common/tensor/aten.h"

namespace retort::objective {

struct RunningMoments {
  double mean = 0;
  double var = 1;  // Biased.
  double std = 1;  // Unbiased. Stays 1 until two scores were seen (upstream: infinite).
  double count = 1e-24;

  bool operator==(const RunningMoments&) const = default;
};

struct BatchMoments {
  double mean = 0;
  double std = 0;  // Unbiased; NaN for a single score.
};

// Adds the scores [n], n >= 1, of the *global* batch. Returns the batch's own moments.
BatchMoments UpdateMoments(const at::Tensor& scores, RunningMoments* moments);

}  // namespace retort::objective
