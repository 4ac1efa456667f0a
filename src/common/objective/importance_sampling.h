// Correction for rollouts that were drawn from another distribution than the one the learner calls
// old: an older policy version (lag > 0), or truncated sampling.
#pragma once

#include <map>
#include <string>

#include "common/tensor/aten.h"

namespace retort::objective {

// token_truncate: min(exp(old - behaviour), cap) per token, a constant for autograd. It multiplies
// the policy loss of the token. Any shape; `cap` >= 1. Off the mask the result is 1.
at::Tensor TruncatedImportanceWeights(const at::Tensor& old_log_probs,
                                      const at::Tensor& behaviour_log_probs, const at::Tensor& mask,
                                      double cap);

// sampling/sampling_logp_difference/{mean,max} of |old - behaviour|, and
// sampling/importance_sampling_ratio/{min,mean,max} of min(exp(old - behaviour), cap), over the
// mask. Empty mask: NaN. Names: TRL.
std::map<std::string, double> SamplingStatistics(const at::Tensor& old_log_probs,
                                                 const at::Tensor& behaviour_log_probs,
                                                 const at::Tensor& mask, double cap);

}  // namespace retort::objective
