// A PPO run that never was, for tests of the report: curves of plausible shape, all from one seed.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/metrics/histogram.h"
#include "common/metrics/report.h"

namespace retort::metrics {

inline void AddFakeScalars(int64_t step, int64_t steps, CounterRng& rng, v1::StepRecord* record) {
  const double t = static_cast<double>(step) / static_cast<double>(steps);
  const double rise = 1 - std::exp(-4 * t);
  const auto noisy = [&](double value, double noise) { return value + noise * rng.NextNormal(); };
  auto& s = *record->mutable_scalars();
  s["env/reward_mean"] = std::clamp(noisy(0.36 + 0.6 * rise, 0.02), 0.0, 1.0);
  s["rewards/exact_match/mean"] = s["env/reward_mean"];
  s["objective/kl"] = noisy(0.05 + 1.1 * rise, 0.03);
  s["objective/kl_coef"] = 0.01;
  s["objective/entropy"] = noisy(1.4 - rise, 0.03);
  s["ppo/policy/entropy"] = noisy(0.22 - 0.17 * rise, 0.005);
  s["ppo/loss/policy"] = noisy(-0.02, 0.006);
  s["ppo/loss/value"] = std::abs(noisy(0.12 - 0.09 * rise, 0.01));
  s["ppo/loss/total"] = s["ppo/loss/policy"] + 0.1 * s["ppo/loss/value"];
  s["ppo/policy/approxkl"] = std::abs(noisy(0.004, 0.001));
  s["ppo/policy/policykl"] = noisy(0.003, 0.001);
  s["ppo/policy/clipfrac"] = std::abs(noisy(0.05, 0.01));
  s["ppo/val/clipfrac"] = std::abs(noisy(0.02, 0.01));
  s["ppo/val/var_explained"] = noisy(0.8 * rise - 0.1, 0.04);
  s["ppo/val/error"] = std::abs(noisy(0.1, 0.01));
  s["grad_norm"] = std::abs(noisy(0.9 - 0.3 * rise, 0.15));
  s["learning_rate"] = 4e-4 * std::min(1.0, (step + 1) / 10.0) * (1 - t);
  s["tokens/queries_len_mean"] = 7;
  s["tokens/responses_len_mean"] = noisy(6.98, 0.01);
  s["completions/clipped_ratio"] = std::abs(noisy(0.02 * (1 - rise), 0.002));
  s["sampling/sampling_logp_difference/mean"] = std::abs(noisy(2e-7, 3e-8));
  s["sampling/sampling_logp_difference/max"] = std::abs(noisy(2e-6, 4e-7));
  s["rollout/tokens_per_second"] = noisy(9200, 300);
  s["learner/tokens_per_second"] = noisy(14200, 400);
  s["rollout/staleness"] = 0;
  s["num_tokens"] = 7168;
  auto& p = *record->mutable_phase_seconds();
  p["generate"] = std::abs(noisy(0.45, 0.03));
  p["score"] = std::abs(noisy(0.12, 0.01));
  p["fetch"] = 0.01;
  p["train"] = std::abs(noisy(0.7, 0.04));
  p["reduce"] = 0.004;
  p["publish"] = 0.003;
  p["step"] = p["generate"] + p["score"] + p["train"] + 0.05;
  p["idle"] = p["generate"] + p["score"];
}

inline v1::SampleText FakeSample(int64_t slot, double accuracy, CounterRng& rng) {
  v1::SampleText sample;
  std::string digits;
  for (int i = 0; i < 6; ++i) digits.push_back(static_cast<char>('0' + rng.NextBelow(10)));
  sample.set_prompt(digits + "=");
  std::sort(digits.begin(), digits.end());
  sample.set_score(rng.NextUniform() < accuracy ? 1 : 0);
  if (sample.score() == 0) digits[rng.NextBelow(6)] = static_cast<char>('0' + rng.NextBelow(10));
  sample.set_completion(digits);
  sample.set_slot(slot);
  return sample;
}

inline ReportInput FakeRun(int64_t steps) {
  ReportInput input;
  input.name = "quickstart-ppo";
  input.algorithm = "ppo";
  input.status = "finished";
  input.seed = 1;
  input.planned_steps = steps;
  input.wall_seconds = 1.3 * static_cast<double>(steps);
  input.weight_digest = "9f2c66d1a3b04c5e8d7a11f0c2e4b6a8";
  input.facts = {{"Workers", "2 rollout, 1 scorer, 1 learner"}, {"Host", "debian, 2 cores"}};
  input.job_yaml = "name: quickstart-ppo\nseed: 1\nalgorithm:\n  type: ppo\n  steps: 100\n";
  CounterRng rng(1, RngPurpose::kData, 0);
  for (int64_t step = 0; step < steps; ++step) {
    v1::StepRecord record;
    record.set_step(step);
    AddFakeScalars(step, steps, rng, &record);
    std::vector<float> scores, ratios;
    const double accuracy = record.scalars().at("env/reward_mean");
    for (int64_t slot = 0; slot < 8; ++slot)
      *record.add_samples() = FakeSample(slot, accuracy, rng);
    for (int i = 0; i < 512; ++i) {
      scores.push_back(rng.NextUniform() < accuracy ? 1.0f : 0.0f);
      ratios.push_back(static_cast<float>(std::exp(0.05 * rng.NextNormal())));
    }
    (*record.mutable_histograms())["env/reward_dist"] = MakeHistogram(scores);
    (*record.mutable_histograms())["ppo/policy/ratio"] = MakeHistogram(ratios);
    input.steps.push_back(std::move(record));
  }
  for (int64_t version = 0; version <= steps; version += std::max<int64_t>(1, steps / 5)) {
    v1::EvalRecord eval;
    eval.set_version(version);
    eval.set_rows(1000);
    eval.set_exact_match(0.415 + 0.547 * (1 - std::exp(-5.0 * static_cast<double>(version) /
                                                       static_cast<double>(steps))));
    for (int64_t slot = 0; slot < 8; ++slot)
      *eval.add_samples() = FakeSample(slot, eval.exact_match(), rng);
    input.evals.push_back(std::move(eval));
  }
  return input;
}

}  // namespace retort::metrics
