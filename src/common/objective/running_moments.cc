#include "common/objective/running_moments.h"

#include <cmath>
#include <limits>

#include "common/base/check.h"
#include "common/objective/masked_statistics.h"

namespace retort::objective {

BatchMoments UpdateMoments(const at::Tensor& scores, RunningMoments* moments) {
  RETORT_CHECK(scores.numel() > 0) << "moments of no score";
  const GlobalStatistics batch = StatisticsOverParts({scores}, {});
  const double n = static_cast<double>(batch.count);
  const double delta = batch.mean - moments->mean;
  const double total = moments->count + n;
  const double squares = moments->var * moments->count +
                         delta * delta * moments->count * n / total + batch.variance * n;
  moments->mean += delta * n / total;
  moments->var = squares / total;
  if (total > 1) moments->std = std::sqrt(moments->var * total / (total - 1));
  moments->count = total;
  const double batch_std = batch.count < 2 ? std::numeric_limits<double>::quiet_NaN()
                                           : std::sqrt(batch.variance * n / (n - 1));
  return {batch.mean, batch_std};
}

}  // namespace retort::objective
