// The statistics of one whole PPO step, under TRL's names (all but time/*, which the
// learner measures). Inputs are the step's gathered tensors in slot order: every rank computes the
// same.
#pragma once

#include <map>
#include <string>

#include "absl/types/span.h"
#include "common/objective/ppo_loss.h"
#include "common/tensor/aten.h"

namespace retort::objective {

struct PpoStepInputs {
  at::Tensor scores;             // float [B], after scaling and clipping.
  at::Tensor log_probs;          // float [B,T], policy version k.
  at::Tensor ref_log_probs;      // float [B,T].
  at::Tensor mask;               // bool [B,T].
  at::Tensor non_score_rewards;  // float [B,T], of ComputeRewards.
  at::Tensor query_lengths;      // int64 [B].
  at::Tensor response_lengths;   // int64 [B].
  double kl_coef = 0;            // The one the rewards used.
  double learning_rate = 0;
};

struct PpoStepStatistics {
  std::map<std::string, double> scalars;
  std::map<std::string, at::Tensor>
      arrays;  // objective/{kl_dist,logprobs,ref_logprobs}, tokens/*_dist.
};

// objective/{kl,kl_dist,logprobs,ref_logprobs,kl_coef,entropy},
// ppo/{mean_non_score_reward,mean_scores, std_scores,learning_rate},
// tokens/{queries,responses}_{len_mean,len_std,dist}, and the plain means over `mini_batches` of
// ppo/loss/{policy,value,total}, ppo/policy/*, ppo/returns/*, ppo/val/* (var_explained from those
// means). Without a mini-batch these are absent; ppo/policy/entropy is absent if no mini-batch has
// one. The two arrays ppo/policy/{advantages,ratio} are the caller's: it holds them mini-batch by
// mini-batch.
//   objective/kl is always sum_t m (l - r), whatever kl_penalty the rewards use.
PpoStepStatistics SummarizePpoStep(const PpoStepInputs& inputs,
                                   absl::Span<const PpoMiniBatchStatistics> mini_batches);

}  // namespace retort::objective
