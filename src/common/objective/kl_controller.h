// The coefficient of the KL reward: fixed, or steered towards a target KL.
// Source: Ziegler et al. 2019; intel-extension-for-transformers AdaptiveKLController.
#pragma once

#include <cstdint>

namespace retort::objective {

struct KlControllerOptions {
  bool adaptive = true;    // false: the value never changes.
  double init_kl = 0.2;    // First value.
  double target = 6;       // KL per sequence that the controller aims at; > 0.
  double horizon = 10000;  // Samples over which an error of 100 % would double the value; > 0.
};

// Not thread-safe. The same on every rank: feed it global numbers only.
class KlController {
 public:
  explicit KlController(const KlControllerOptions& options)
      : options_(options), value_(options.init_kl) {}

  // What this step's rewards use: the value *before* the step's own Update.
  double value() const { return value_; }

  // Once a step, after its statistics: `current` = objective/kl over the global batch, `n_steps` =
  // samples of the global batch. value *= 1 + clip(current/target - 1, +-0.2) * n_steps/horizon. A
  // `current` that is not finite changes nothing (the step was bad and is not counted). The value
  // stays positive while n_steps < horizon / 0.2, which the job's check demands.
  void Update(double current, int64_t n_steps);

  // From a checkpoint.
  void Restore(double value) { value_ = value; }

 private:
  KlControllerOptions options_;
  double value_;
};

}  // namespace retort::objective
