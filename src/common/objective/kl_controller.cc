#include "common/objective/kl_controller.h"

#include <algorithm>
#include <cmath>

namespace retort::objective {

void KlController::Update(double current, int64_t n_steps) {
  if (!options_.adaptive || !std::isfinite(current)) return;
  const double error = std::clamp(current / options_.target - 1, -0.2, 0.2);
  value_ *= 1 + error * static_cast<double>(n_steps) / options_.horizon;
}

}  // namespace retort::objective
