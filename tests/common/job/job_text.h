// Small valid job files that the tests of job/ change one thing in.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "retort/v1/job.pb.h"

namespace retort::job {

inline constexpr char kPpoJob[] = R"(name: sort
algorithm: {type: ppo, steps: 60}
policy:
  path: models/start
data: {train: train.jsonl, prompts_per_step: 8, samples_per_prompt: 2}
rewards:
  - type: exact_match
  - {type: length, target: 6, tolerance: 2, weight: 0.5}
output:
  dir: runs/sort
)";

inline constexpr char kSftJob[] = R"(name: warm
algorithm: {type: sft, steps: 40, sft: {batch_size: 16}}
policy:
  path: null
  init: {config: models/tiny, std: 0.06}
data: {train: train.jsonl}
output: {dir: runs/warm}
)";

// Every key that a PPO job can give, none at its default.
inline constexpr char kFullPpoJob[] = R"(name: full.job_1-a
seed: 18446744073709551615
algorithm:
  type: ppo
  steps: 7
  lag: 1
  max_bad_steps: 0
  ppo:
    ppo_epochs: 2
    mini_batch_size: 8
    cliprange: 0.1
    cliprange_value: 1.0e-3
    vf_coef: 0.5
    gamma: 0.99
    lam: 1
    adap_kl_ctrl: false
    init_kl_coef: .05
    target: 5.
    horizon: 1E5
    kl_penalty: full
    whiten_rewards: true
    ratio_threshold: 3
    early_stopping: true
    target_kl: 0.1
    use_score_scaling: true
    use_score_norm: true
    score_clip: 4
    value_learning_rate_scale: 2.5
    importance_sampling: token_truncate
    importance_sampling_cap: 3
policy: {path: /models/start, dtype: float32, lora: {rank: 4, alpha: 16, target_modules: [q_proj, "mlp.down_proj"], use_rslora: true}}
reference: {path: ../ref, dtype: bfloat16}
data: {train: a b.jsonl, validation: "v\u00e9\t.jsonl", prompts_per_step: 16, samples_per_prompt: 2, shuffle: false, add_bos: true, template_time: "2026-03-01T09:30:00"}
rollout: {max_new_tokens: 9, temperature: 0.7, top_k: 8, top_p: 0.9, bundle_prompts: 4, max_batch: 16}
rewards:
  - {type: regex, pattern: "a\"b\\d+ #: é", weight: -1}
  - {type: exact_match, require_eos: false, weight: 0.1}
  - {type: length, target: 0, tolerance: 3}
optimizer: {learning_rate: 3.0e-4, beta1: 0.8, beta2: 0.95, eps: 1.0e-7, weight_decay: 0.01, max_grad_norm: null, lr_schedule: cosine_with_min_lr, warmup_steps: 3, min_lr: 1e-5, micro_batch_tokens: 128}
eval: {every: 2, max_prompts: 100}
cluster:
  rollout: {workers: 2, threads: 2, device: cpu}
  scorer: {workers: 3, threads: 4, device: cpu}
  learner: {ranks: 2, threads: 3, device: cpu, collective: shm}
output: {dir: /runs/full, checkpoint_every: 3, keep: 4}
)";

// "exact_match, regex, …": a new reward changes no test.
inline std::string RewardKinds() {
  const auto* kind = v1::RewardSpec::descriptor()->FindOneofByName("kind");
  std::vector<std::string> names;
  for (int i = 0; i < kind->field_count(); ++i) names.push_back(kind->field(i)->name());
  return absl::StrJoin(names, ", ");
}

}  // namespace retort::job
