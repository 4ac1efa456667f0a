#include "worker/learner/ppo_prepare.h"

#include <numeric>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/model/response_batch.h"
#include "common/objective/importance_sampling.h"
#include "common/tensor/cat.h"
#include "common/tensor/torch_process.h"
#include "common/tensor/upload.h"
#include "worker/learner/rank_share.h"

namespace retort::worker {
namespace {

// Planes of the tensor that the ranks fill together.
enum Plane : int64_t { kOldLogProbs, kValues, kFullKl, kPlanes };

// sum over the vocabulary of e^l (l - r) at each response token of the batch, [M].
at::Tensor FullKl(const TrainingContext& context, const PpoSettings& settings,
                  const StepSamples& samples, const model::ResponseBatch& batch,
                  const at::Tensor& hidden) {
  std::vector<at::Tensor> reference;
  for (const int64_t i : batch.sequences) {
    reference.push_back(
        samples.full_reference.narrow(0, samples.response_begin[i], samples.response_lengths[i]));
  }
  return objective::KlPerToken(
      objective::KlPenalty::kFull,
      context.model->model.FullLogProbs(hidden, settings.temperature, context.policy->mask),
      tensor::Upload(tensor::Cat(reference), hidden.device()));
}

// One micro-batch's part of `planes` [kPlanes, N * T].
void Forward(const TrainingContext& context, const PpoSettings& settings,
             const StepSamples& samples, const std::vector<int64_t>& sequences, at::Tensor planes) {
  const at::NoGradGuard no_grad;
  const model::Model& model = context.model->model;
  const model::ResponseBatch batch =
      model::MakeResponseBatch({samples.tokens, samples.begin, samples.prompt_lengths}, sequences);
  const at::Tensor hidden = model::ResponseHidden(model, batch);
  const at::Tensor where = FlatResponseIndex(samples, batch.sequences);
  const model::SelectedLogProbs selected =
      model.LogProbs(hidden, batch.targets, settings.temperature, context.policy->mask);
  planes[kOldLogProbs].index_copy_(0, where, selected.log_probs.cpu());
  planes[kValues].index_copy_(0, where, model.Values(hidden).cpu());
  if (settings.kl_penalty == objective::KlPenalty::kFull) {
    planes[kFullKl].index_copy_(0, where, FullKl(context, settings, samples, batch, hidden).cpu());
  }
}

// [kPlanes, N, T] on every rank. Each entry is written by one rank and zero on the others, so the
// sum is exact.
absl::StatusOr<at::Tensor> ForwardAll(const TrainingContext& context, const PpoSettings& settings,
                                      const StepSamples& samples) {
  const int64_t planes_used =
      settings.kl_penalty == objective::KlPenalty::kFull ? kPlanes : kFullKl;
  const at::Tensor planes =
      at::zeros({planes_used, samples.count() * samples.longest_response()}, at::kFloat);
  std::vector<int64_t> all(samples.count());
  std::iota(all.begin(), all.end(), 0);
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::vector<int64_t>> micro_batches,
                          MicroBatchesOfRank(all, samples.SequenceLengths(),
                                             context.spec->optimizer().micro_batch_tokens(),
                                             context.group->rank(), context.group->world_size()));
  for (const std::vector<int64_t>& sequences : micro_batches) {
    RETORT_RETURN_IF_ERROR(
        tensor::CatchTorch([&] { Forward(context, settings, samples, sequences, planes); }));
    RETORT_RETURN_IF_ERROR(context.on_micro_batch());
  }
  RETORT_RETURN_IF_ERROR(context.group->AllReduceSum(planes));
  return planes.view({planes_used, samples.count(), samples.longest_response()});
}

// Name of the first tensor with a NaN or infinite entry; empty if there is none.
std::string FirstNotFinite(const StepSamples& samples, const at::Tensor& planes) {
  const auto finite = [](const at::Tensor& tensor) {
    return at::isfinite(tensor).all().item<bool>();
  };
  if (!finite(samples.scores)) return "scores";
  if (!finite(samples.behaviour)) return "behaviour log-probs";
  if (!finite(samples.reference)) return "reference log-probs";
  if (!finite(planes[kOldLogProbs])) return "old log-probs";
  if (!finite(planes[kValues])) return "values";
  if (planes.size(0) > kFullKl && !finite(planes[kFullKl])) return "full KL";
  return "";
}

absl::Status Shape(const PpoSettings& settings, const StepSamples& samples,
                   const at::Tensor& planes, double kl_coef, PreparedStep* prepared,
                   StepClock* clock) {
  prepared->old_log_probs = planes[kOldLogProbs];
  RETORT_RETURN_IF_ERROR(clock->Time("compute_rewards", [&]() -> absl::Status {
    prepared->scores = objective::ScaleScores(samples.scores, settings.scores, &prepared->moments);
    const at::Tensor kl = settings.kl_penalty == objective::KlPenalty::kFull
                              ? planes[kFullKl]
                              : objective::KlPerToken(settings.kl_penalty, prepared->old_log_probs,
                                                      samples.reference);
    RETORT_ASSIGN_OR_RETURN(prepared->rewards,
                            objective::ComputeRewards(prepared->scores, kl, samples.mask, kl_coef));
    return absl::OkStatus();
  }));
  return clock->Time("compute_advantages", [&]() -> absl::Status {
    RETORT_ASSIGN_OR_RETURN(prepared->gae,
                            objective::ComputeGae(planes[kValues], prepared->rewards.rewards,
                                                  samples.mask, settings.gae));
    if (settings.importance_cap.has_value()) {
      prepared->importance_weights = objective::TruncatedImportanceWeights(
          prepared->old_log_probs, samples.behaviour, samples.mask, *settings.importance_cap);
    }
    return absl::OkStatus();
  });
}

}  // namespace

at::Tensor FlatResponseIndex(const StepSamples& samples, absl::Span<const int64_t> sequences) {
  const int64_t stride = samples.longest_response();
  std::vector<at::Tensor> parts;
  for (const int64_t i : sequences) {
    parts.push_back(at::arange(i * stride, i * stride + samples.response_lengths[i], at::kLong));
  }
  return tensor::Cat(parts);
}

absl::StatusOr<PreparedStep> PreparePpoStep(const TrainingContext& context,
                                            const PpoSettings& settings, const StepSamples& samples,
                                            const checkpoint::TrainerState& state,
                                            StepClock* clock) {
  PreparedStep prepared;
  prepared.moments = state.score_moments;
  RETORT_ASSIGN_OR_RETURN(const at::Tensor planes, clock->Time("forward_pass", [&] {
    return ForwardAll(context, settings, samples);
  }));
  RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&]() -> absl::Status {
    prepared.not_finite = FirstNotFinite(samples, planes);
    prepared.finite = prepared.not_finite.empty();
    if (!prepared.finite) return absl::OkStatus();
    return Shape(settings, samples, planes, state.kl_coef, &prepared, clock);
  }));
  return prepared;
}

}  // namespace retort::worker
