// Distributions in a step record: 32 equal bins.
#pragma once

#include "absl/types/span.h"
#include "retort/v1/record.pb.h"

namespace retort::metrics {

inline constexpr int kHistogramBins = 32;

// Bins over [smallest, largest finite value]; the largest lies in the last bin. Equal values all
// lie in the first bin, with high = low. NaN and infinities are counted apart; without a finite
// value there are no bins.
v1::Histogram MakeHistogram(absl::Span<const float> values);

}  // namespace retort::metrics
