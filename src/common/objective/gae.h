// Generalised advantage estimation over response tokens.
// Source: Schulman et al. 2016; intel-extension-for-transformers compute_advantages, with the
// whitened rewards masked again (upstream lets padding leak in) and the whitening over the whole
// step's batch.
#pragma once

#include "absl/status/statusor.h"
#include "common/tensor/aten.h"

namespace retort::objective {

struct GaeOptions {
  double gamma = 1;             // Discount per token.
  double lam = 0.95;            // 1: Monte Carlo; 0: one-step TD.
  bool whiten_rewards = false;  // Divide rewards by their masked standard deviation first.
};

struct GaeResult {  // All [B,T], 0 off the mask.
  at::Tensor values;
  at::Tensor advantages;  // Whitened over the mask.
  at::Tensor returns;     // Unwhitened advantages + values.
};

// values, rewards float [B,T], mask bool [B,T]; the whole step's batch in slot order, so that every
// rank computes the same bits. The recursion runs backwards over all positions, gaps included.
// Errors: INVALID_ARGUMENT "empty mask" if no entry of the batch counts.
absl::StatusOr<GaeResult> ComputeGae(const at::Tensor& values, const at::Tensor& rewards,
                                     const at::Tensor& mask, const GaeOptions& options);

}  // namespace retort::objective
