#include "worker/learner/ppo_record.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/metrics/histogram.h"
#include "common/objective/importance_sampling.h"
#include "common/objective/ppo_statistics.h"
#include "common/tensor/cat.h"
#include "common/tensor/torch_process.h"
#include "worker/learner/record_number.h"

namespace retort::worker {
namespace {

using Scalars = google::protobuf::Map<std::string, double>;

// KL below this is no noise: policy and reference were not scored alike (ppo_trl.md A7).
constexpr double kImpossibleKl = -1.0;

v1::Histogram HistogramOf(const at::Tensor& values) {
  const at::Tensor flat = values.detach().to(at::kFloat).contiguous().flatten();
  return metrics::MakeHistogram({flat.data_ptr<float>(), static_cast<size_t>(flat.numel())});
}

at::Tensor LongTensor(const std::vector<int64_t>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

double Mean(const at::Tensor& values) { return values.to(at::kDouble).mean().item<double>(); }

double Std(const at::Tensor& values) {
  return values.numel() < 2 ? 0.0 : values.to(at::kDouble).std(/*unbiased=*/true).item<double>();
}

void AddRewards(const StepSamples& samples, Scalars& scalars) {
  PutNumber(scalars, "env/reward_mean", Mean(samples.scores));
  PutNumber(scalars, "env/reward_std", Std(samples.scores));
  for (size_t r = 0; r < samples.reward_names.size(); ++r) {
    const at::Tensor part = samples.reward_parts.select(1, static_cast<int64_t>(r));
    PutNumber(scalars, absl::StrCat("rewards/", samples.reward_names[r], "/mean"), Mean(part));
    PutNumber(scalars, absl::StrCat("rewards/", samples.reward_names[r], "/std"), Std(part));
    if (samples.reward_gave_up[r] == 0) continue;
    PutNumber(scalars, absl::StrCat("rewards/", samples.reward_names[r], "/gave_up"),
              static_cast<double>(samples.reward_gave_up[r]));
  }
}

void AddLengths(const StepSamples& samples, Scalars& scalars) {
  const std::vector<int64_t>& lengths = samples.response_lengths;
  int64_t ended = 0, ended_tokens = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (samples.finished[i] == 0) continue;
    ++ended;
    ended_tokens += lengths[i];
  }
  const double n = static_cast<double>(lengths.size());
  PutNumber(scalars, "completions/mean_length", static_cast<double>(samples.response_tokens()) / n);
  PutNumber(scalars, "completions/min_length",
            static_cast<double>(*std::min_element(lengths.begin(), lengths.end())));
  PutNumber(scalars, "completions/max_length",
            static_cast<double>(*std::max_element(lengths.begin(), lengths.end())));
  PutNumber(scalars, "completions/clipped_ratio", 1.0 - static_cast<double>(ended) / n);
  if (ended > 0) {
    PutNumber(scalars, "completions/mean_terminated_length",
              static_cast<double>(ended_tokens) / static_cast<double>(ended));
  }
  PutNumber(scalars, "num_tokens", static_cast<double>(samples.begin.back()));
}

void AddUpdates(const PpoRecordInputs& inputs, Scalars& scalars) {
  const PpoUpdates& updates = *inputs.updates;
  const auto total = scalars.find(std::string("ppo/loss/total"));
  if (total != scalars.end()) PutNumber(scalars, "loss", double{total->second});
  PutNumber(scalars, "learning_rate", inputs.learning_rate);
  PutNumber(scalars, "ppo/updates_applied", static_cast<double>(updates.applied));
  PutNumber(scalars, "ppo/updates_skipped", static_cast<double>(updates.skipped));
  PutNumber(scalars, "ppo/stopped_early", updates.stopped_early ? 1 : 0);
  if (updates.applied > 0)
    PutNumber(scalars, "grad_norm", updates.grad_norm_sum / static_cast<double>(updates.applied));
  for (const auto& [name, value] : objective::SamplingStatistics(
           inputs.prepared->old_log_probs, inputs.samples->behaviour, inputs.samples->mask,
           inputs.context->spec->algorithm().ppo().importance_sampling_cap())) {
    PutNumber(scalars, name, value);
  }
}

objective::PpoStepStatistics Summarize(const PpoRecordInputs& inputs) {
  const StepSamples& samples = *inputs.samples;
  return objective::SummarizePpoStep(
      {.scores = inputs.prepared->scores,
       .log_probs = inputs.prepared->old_log_probs,
       .ref_log_probs = samples.reference,
       .mask = samples.mask,
       .non_score_rewards = inputs.prepared->rewards.non_score_rewards,
       .query_lengths = LongTensor(samples.prompt_lengths),
       .response_lengths = LongTensor(samples.response_lengths),
       .kl_coef = inputs.kl_coef,
       .learning_rate = inputs.learning_rate},
      inputs.updates->mini_batches);
}

void AddHistograms(const PpoRecordInputs& inputs, const objective::PpoStepStatistics& summary,
                   const at::Tensor& ratios, v1::StepRecord* record) {
  auto& histograms = *record->mutable_histograms();
  const at::Tensor& mask = inputs.samples->mask;
  for (const auto& [name, array] : summary.arrays) {
    histograms[name] =
        HistogramOf(array.sizes() == mask.sizes() ? array.masked_select(mask) : array);
  }
  histograms[std::string("ppo/policy/advantages")] =
      HistogramOf(inputs.prepared->gae.advantages.masked_select(mask));
  histograms[std::string("ppo/policy/ratio")] = HistogramOf(ratios);
  histograms[std::string("env/reward_dist")] = HistogramOf(inputs.samples->scores);
}

PpoRecord Build(const PpoRecordInputs& inputs, const at::Tensor& ratios) {
  PpoRecord built;
  v1::StepRecord& record = built.record;
  record.set_step(inputs.step);
  Scalars& scalars = *record.mutable_scalars();
  const objective::PpoStepStatistics summary = Summarize(inputs);
  for (const auto& [name, value] : summary.scalars) PutNumber(scalars, name, value);
  AddRewards(*inputs.samples, scalars);
  AddLengths(*inputs.samples, scalars);
  AddUpdates(inputs, scalars);
  AddHistograms(inputs, summary, ratios, &record);
  built.kl = summary.scalars.at("objective/kl");
  if (built.kl < kImpossibleKl) {
    LogWarning("KL to the reference is negative beyond noise step={} kl={:.4f}", inputs.step,
               built.kl);
  }
  return built;
}

}  // namespace

absl::StatusOr<PpoRecord> RecordOfPpoStep(const PpoRecordInputs& inputs) {
  const std::vector<at::Tensor>& mine = inputs.updates->ratios;
  const at::Tensor local = mine.empty() ? at::empty({0}, at::kFloat) : tensor::Cat(mine);
  RETORT_ASSIGN_OR_RETURN(const std::vector<at::Tensor> all,
                          inputs.context->group->AllGatherRows(local));
  return tensor::CatchTorch([&] { return Build(inputs, tensor::Cat(all)); });
}

v1::StepRecord RecordOfBadStep(const StepSamples& samples, int64_t step) {
  v1::StepRecord record;
  record.set_step(step);
  AddRewards(samples, *record.mutable_scalars());
  AddLengths(samples, *record.mutable_scalars());
  PutNumber(*record.mutable_scalars(), "bad_step", 1);
  return record;
}

}  // namespace retort::worker
