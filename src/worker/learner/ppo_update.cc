#include "worker/learner/ppo_update.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/model/response_batch.h"
#include "common/objective/loss_term.h"
#include "common/tensor/torch_process.h"
#include "common/tensor/upload.h"
#include "worker/learner/rank_share.h"

namespace retort::worker {
namespace {

// Every rank knows every length, yet the counts are summed over the ranks' own shares: a rank that
// would compute other samples than its peers expect stops the step instead of training on a wrong
// denominator.
absl::StatusOr<int64_t> GlobalTokens(const TrainingContext& context, const StepSamples& samples,
                                     const std::vector<int64_t>& mini_batch,
                                     const std::vector<std::vector<int64_t>>& mine) {
  int64_t counts[2] = {0, 0};  // Tokens, sequences.
  for (const std::vector<int64_t>& sequences : mine) {
    for (const int64_t i : sequences) counts[0] += samples.response_lengths[i];
    counts[1] += static_cast<int64_t>(sequences.size());
  }
  const at::Tensor total = at::tensor({counts[0], counts[1]}, at::kLong);
  RETORT_RETURN_IF_ERROR(context.group->AllReduceSum(total));
  int64_t expected = 0;
  for (const int64_t i : mini_batch) expected += samples.response_lengths[i];
  const int64_t* got = total.data_ptr<int64_t>();
  if (got[0] != expected || got[1] != static_cast<int64_t>(mini_batch.size())) {
    return absl::DataLossError(absl::StrCat("the ranks' shares of a mini-batch hold ", got[1],
                                            " samples and ", got[0], " tokens, expected ",
                                            mini_batch.size(), " and ", expected));
  }
  return expected;
}

// A step's tensors are on the CPU; what goes into the loss follows the model to its device.
at::Tensor Gather(const at::Tensor& padded, const at::Tensor& where, const at::Device& device) {
  return tensor::Upload(padded.flatten().index_select(0, where), device);
}

objective::PpoLossInputs LossInputs(const TrainingContext& context, const PpoSettings& settings,
                                    const StepSamples& samples, const PreparedStep& prepared,
                                    const model::ResponseBatch& batch) {
  const model::Model& model = context.model->model;
  const at::Tensor hidden = model::ResponseHidden(model, batch);
  const at::Tensor where = FlatResponseIndex(samples, batch.sequences);
  model::SelectedLogProbs selected =
      model.LogProbs(hidden, batch.targets, settings.temperature, context.policy->mask);
  objective::PpoLossInputs inputs;
  inputs.log_probs = std::move(selected.log_probs);
  inputs.entropy = selected.entropy.detach();
  inputs.values = model.Values(hidden);
  const at::Device device = hidden.device();
  inputs.old_log_probs = Gather(prepared.old_log_probs, where, device);
  inputs.old_values = Gather(prepared.gae.values, where, device);
  inputs.advantages = Gather(prepared.gae.advantages, where, device);
  inputs.returns = Gather(prepared.gae.returns, where, device);
  if (prepared.importance_weights.defined())
    inputs.weights = Gather(prepared.importance_weights, where, device);
  return inputs;
}

at::Tensor BackwardOne(const TrainingContext& context, const PpoSettings& settings,
                       const StepSamples& samples, const PreparedStep& prepared,
                       const std::vector<int64_t>& sequences, int64_t global_tokens,
                       std::vector<at::Tensor>* ratios) {
  const model::ResponseBatch batch =
      model::MakeResponseBatch({samples.tokens, samples.begin, samples.prompt_lengths}, sequences);
  const objective::PpoLossPart part = objective::PpoLoss(
      LossInputs(context, settings, samples, prepared, batch), settings.loss, global_tokens);
  objective::TotalLoss(part.terms).backward();
  ratios->push_back(part.ratio.cpu());
  return part.sums.cpu();
}

// Runs one mini-batch. Leaves the reason in `updates->not_finite` when the step is bad.
class Updater {
 public:
  Updater(const TrainingContext& context, const PpoSettings& settings, const StepSamples& samples,
          const PreparedStep& prepared, int64_t first_update, double learning_rate,
          StepClock* clock)
      : context_(context),
        settings_(settings),
        samples_(samples),
        prepared_(prepared),
        first_update_(first_update),
        learning_rate_(learning_rate),
        clock_(clock) {}

  absl::Status MiniBatch(const std::vector<int64_t>& mini_batch, PpoUpdates* updates);

 private:
  absl::Status Update(const objective::PpoMiniBatchStatistics& statistics, PpoUpdates* updates);

  const TrainingContext& context_;
  const PpoSettings& settings_;
  const StepSamples& samples_;
  const PreparedStep& prepared_;
  const int64_t first_update_;
  const double learning_rate_;
  StepClock* const clock_;
};

absl::Status Updater::MiniBatch(const std::vector<int64_t>& mini_batch, PpoUpdates* updates) {
  context_.model->gradients.flat().zero_();
  RETORT_ASSIGN_OR_RETURN(const at::Tensor sums, clock_->Time("backward", [&] {
    return AccumulatePpoGradient(context_, settings_, samples_, prepared_, mini_batch,
                                 &updates->ratios);
  }));
  RETORT_RETURN_IF_ERROR(
      clock_->Time("reduce", [&] { return context_.group->AllReduceSum(sums); }));
  const objective::PpoMiniBatchStatistics statistics =
      objective::FinishPpoStatistics(sums, settings_.loss);
  if (statistics.skip) {  // On every rank alike; known before the gradients are used.
    RETORT_RETURN_IF_ERROR(context_.buckets->Discard());
    ++updates->skipped;
    updates->mini_batches.push_back(statistics);
    return absl::OkStatus();
  }
  return Update(statistics, updates);
}

absl::Status Updater::Update(const objective::PpoMiniBatchStatistics& statistics,
                             PpoUpdates* updates) {
  RETORT_ASSIGN_OR_RETURN(const double grad_norm, clock_->Time("reduce", [&] {
    return ReduceAndClip(context_.optimizer, *context_.buckets, context_.model);
  }));
  // Both numbers are sums over all ranks in rank order, so every rank decides alike.
  if (!std::isfinite(statistics.loss) || !std::isfinite(grad_norm)) {
    updates->finite = false;
    updates->not_finite = absl::StrCat("update ", updates->applied, ": loss ", statistics.loss,
                                       ", gradient norm ", grad_norm);
    return absl::OkStatus();
  }
  updates->mini_batches.push_back(statistics);
  updates->grad_norm_sum += grad_norm;
  ++updates->applied;
  return clock_->Time("apply", [&] {
    return ApplyUpdate(context_.optimizer, first_update_ + updates->applied - 1, learning_rate_,
                       context_.model);
  });
}

}  // namespace

std::vector<std::vector<int64_t>> MiniBatchesOfEpoch(uint64_t seed, int64_t step, int64_t epoch,
                                                     int64_t samples, int64_t mini_batch_size) {
  CounterRng rng(seed, RngPurpose::kPermutation, static_cast<uint64_t>(step),
                 static_cast<uint32_t>(epoch));
  const std::vector<int64_t> order = RandomPermutation(samples, rng);
  std::vector<std::vector<int64_t>> pieces;
  for (int64_t begin = 0; begin < samples; begin += mini_batch_size) {
    const int64_t end = std::min(samples, begin + mini_batch_size);
    pieces.emplace_back(order.begin() + begin, order.begin() + end);
  }
  return pieces;
}

absl::StatusOr<at::Tensor> AccumulatePpoGradient(const TrainingContext& context,
                                                 const PpoSettings& settings,
                                                 const StepSamples& samples,
                                                 const PreparedStep& prepared,
                                                 const std::vector<int64_t>& mini_batch,
                                                 std::vector<at::Tensor>* ratios) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::vector<int64_t>> mine,
                          MicroBatchesOfRank(mini_batch, samples.SequenceLengths(),
                                             context.spec->optimizer().micro_batch_tokens(),
                                             context.group->rank(), context.group->world_size()));
  RETORT_ASSIGN_OR_RETURN(const int64_t global_tokens,
                          GlobalTokens(context, samples, mini_batch, mine));
  const at::Tensor sums = objective::NewPpoSums();
  for (const std::vector<int64_t>& sequences : mine) {
    if (&sequences == &mine.back()) context.buckets->ExpectLastBackward();
    RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&] {
      sums.add_(
          BackwardOne(context, settings, samples, prepared, sequences, global_tokens, ratios));
    }));
    RETORT_RETURN_IF_ERROR(context.on_micro_batch());
  }
  RETORT_RETURN_IF_ERROR(context.buckets->LaunchRest());
  return sums;
}

absl::StatusOr<PpoUpdates> RunPpoUpdates(const TrainingContext& context,
                                         const PpoSettings& settings, const StepSamples& samples,
                                         const PreparedStep& prepared, int64_t step,
                                         int64_t first_update, double learning_rate,
                                         StepClock* clock) {
  PpoUpdates updates;
  // A step of one update decides before it applies anything; with more, the first may be applied
  // when the second turns out bad.
  std::optional<ModelSnapshot> before;
  if (settings.ppo_epochs > 1 || settings.mini_batch_size < samples.count())
    before.emplace(*context.model);
  Updater updater(context, settings, samples, prepared, first_update, learning_rate, clock);
  for (int64_t epoch = 0; epoch < settings.ppo_epochs && !updates.stopped_early; ++epoch) {
    for (const std::vector<int64_t>& mini_batch : MiniBatchesOfEpoch(
             context.spec->seed(), step, epoch, samples.count(), settings.mini_batch_size)) {
      RETORT_RETURN_IF_ERROR(updater.MiniBatch(mini_batch, &updates));
      if (updates.finite) continue;
      if (before.has_value()) before->Restore(context.model);
      return updates;
    }
    updates.stopped_early =
        settings.early_stop_kl.has_value() &&
        objective::ShouldStopEarly(updates.mini_batches.back(), *settings.early_stop_kl);
  }
  return updates;
}

}  // namespace retort::worker
