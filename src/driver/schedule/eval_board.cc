#include "driver/schedule/eval_board.h"

#include <algorithm>

namespace retort::driver {

void EvalBoard::Open(int64_t version) {
  Evaluation& eval = evals_[version];
  eval.parts.resize(bundles_per_eval_);
  eval.score_sums.resize(bundles_per_eval_);
  for (int i = 0; i < bundles_per_eval_; ++i) eval.waiting.insert(eval.waiting.end(), i);
}

std::optional<HeldKey> EvalBoard::Next(int64_t up_to_version) const {
  for (const auto& [version, eval] : evals_) {
    if (version > up_to_version) break;
    if (!eval.waiting.empty()) return HeldKey{version, *eval.waiting.begin()};
  }
  return std::nullopt;
}

const EvalBoard::Part* EvalBoard::Find(HeldKey key) const {
  const auto it = evals_.find(key.step);
  if (it == evals_.end() || key.index < 0 || key.index >= bundles_per_eval_) return nullptr;
  return &it->second.parts[key.index];
}

int EvalBoard::Lease(HeldKey key, int worker) {
  Evaluation& eval = evals_.at(key.step);
  Part& part = eval.parts[key.index];
  part.state = State::kLeased;
  part.worker = worker;
  eval.waiting.erase(key.index);
  return part.attempt;
}

bool EvalBoard::Lose(HeldKey key, int worker, int attempt) {
  const Part* found = Find(key);
  if (found == nullptr || found->state != State::kLeased || found->worker != worker ||
      found->attempt != attempt) {
    return false;
  }
  Evaluation& eval = evals_.at(key.step);
  Part& part = eval.parts[key.index];
  part = Part{State::kWaiting, part.attempt + 1, -1};
  eval.waiting.insert(key.index);
  return true;
}

bool EvalBoard::Report(HeldKey key, int worker, int attempt, const v1::RolloutReport& report) {
  const Part* found = Find(key);
  if (found == nullptr || found->state != State::kLeased || found->worker != worker ||
      found->attempt != attempt) {
    return false;
  }
  Evaluation& eval = evals_.at(key.step);
  eval.parts[key.index].state = State::kDone;
  ++eval.done;
  eval.rows += report.eval().rows();
  eval.matches += report.eval().exact_matches();
  eval.score_sums[key.index] = report.eval().score_sum();
  if (key.index < 8) {
    eval.samples[key.index].assign(report.samples().begin(), report.samples().end());
  }
  return true;
}

std::optional<v1::EvalRecord> EvalBoard::TakeFinished(int64_t version) {
  const auto it = evals_.find(version);
  if (it == evals_.end() || it->second.done != bundles_per_eval_) return std::nullopt;
  const Evaluation& eval = it->second;
  const double rows = static_cast<double>(std::max<int64_t>(eval.rows, 1));
  double score_sum = 0;
  for (const double part : eval.score_sums) score_sum += part;
  v1::EvalRecord record;
  record.set_version(version);
  record.set_rows(eval.rows);
  record.set_exact_match(static_cast<double>(eval.matches) / rows);
  record.set_mean_score(score_sum / rows);
  for (v1::SampleText& sample : PickSamples(eval.samples, 8)) {
    *record.add_samples() = std::move(sample);
  }
  evals_.erase(it);
  return record;
}

std::vector<v1::SampleText> PickSamples(const std::map<int, std::vector<v1::SampleText>>& by_bundle,
                                        int limit) {
  std::vector<v1::SampleText> picked;
  for (size_t round = 0; round < static_cast<size_t>(limit); ++round) {
    for (const auto& [bundle, samples] : by_bundle) {
      if (round < samples.size() && static_cast<int>(picked.size()) < limit) {
        picked.push_back(samples[round]);
      }
    }
  }
  return picked;
}

}  // namespace retort::driver
