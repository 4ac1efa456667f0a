#include "common/objective/gae.h"

#include "common/base/status_macros.h"
#include "common/objective/masked_statistics.h"

namespace retort::objective {

absl::StatusOr<GaeResult> ComputeGae(const at::Tensor& values, const at::Tensor& rewards,
                                     const at::Tensor& mask, const GaeOptions& options) {
  GaeResult result;
  result.values = ZeroOffMask(values, mask);
  at::Tensor shaped = ZeroOffMask(rewards, mask);
  if (options.whiten_rewards) {
    RETORT_ASSIGN_OR_RETURN(shaped, Whiten(shaped, mask, /*shift_mean=*/false));
    shaped = ZeroOffMask(shaped, mask);  // Whitening moved the padding away from 0.
  }
  // The recursion in float64: it adds up to T terms of both signs.
  const at::Tensor v = result.values.to(at::kDouble);
  const at::Tensor r = shaped.to(at::kDouble);
  at::Tensor advantages = at::zeros_like(v);
  at::Tensor next_value = at::zeros({v.size(0)}, v.options());
  at::Tensor next_advantage = next_value;
  for (int64_t t = v.size(1) - 1; t >= 0; --t) {
    const at::Tensor delta = r.select(1, t) + options.gamma * next_value - v.select(1, t);
    next_advantage = delta + options.gamma * options.lam * next_advantage;
    next_value = v.select(1, t);
    advantages.select(1, t).copy_(next_advantage);
  }
  const at::ScalarType type = values.scalar_type();
  result.returns = ZeroOffMask(advantages + v, mask).to(type);
  RETORT_ASSIGN_OR_RETURN(const at::Tensor whitened, Whiten(advantages, mask));
  result.advantages = ZeroOffMask(whitened, mask).to(type);
  return result;
}

}  // namespace retort::objective
