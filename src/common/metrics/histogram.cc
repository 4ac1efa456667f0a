#include "common/metrics/histogram.h"

#include <algorithm>
#include <cmath>

namespace retort::metrics {

v1::Histogram MakeHistogram(absl::Span<const float> values) {
  v1::Histogram histogram;
  double low = 0, high = 0;
  int64_t finite = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    low = finite == 0 ? value : std::min(low, static_cast<double>(value));
    high = finite == 0 ? value : std::max(high, static_cast<double>(value));
    ++finite;
  }
  histogram.set_not_finite(static_cast<int64_t>(values.size()) - finite);
  if (finite == 0) return histogram;
  histogram.set_low(low);
  histogram.set_high(high);
  histogram.mutable_counts()->Resize(kHistogramBins, 0);
  const double scale = high > low ? kHistogramBins / (high - low) : 0;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    const int bin = std::min(static_cast<int>((value - low) * scale), kHistogramBins - 1);
    histogram.set_counts(bin, histogram.counts(bin) + 1);
  }
  return histogram;
}

}  // namespace retort::metrics
