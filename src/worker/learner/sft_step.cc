#include "worker/learner/sft_step.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/data/stop_ids.h"
#include "common/model/response_batch.h"
#include "common/objective/lr_schedule.h"
#include "common/objective/sft_loss.h"
#include "common/tensor/torch_process.h"
#include "worker/learner/rank_share.h"
#include "worker/learner/record_number.h"

namespace retort::worker {
namespace {

absl::Status AppendRow(const PolicyText& policy, const data::Row& row,
                       const absl::StatusOr<int64_t>& eos, SftRows* out) {
  RETORT_ASSIGN_OR_RETURN(const data::EncodedExample example, policy.rows->Example(row, eos));
  const auto length = static_cast<int64_t>(example.ids.size());
  if (length > policy.config.max_position_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat(length, " tokens with ", row.is_chat() ? "the chat template" : "EOS",
                     ", the model's context holds ", policy.config.max_position_embeddings));
  }
  out->tokens.insert(out->tokens.end(), example.ids.begin(), example.ids.end());
  out->trained.insert(out->trained.end(), example.trained.begin(), example.trained.end());
  out->begin.push_back(static_cast<int64_t>(out->tokens.size()));
  out->prompt_lengths.push_back(example.prompt_length);
  return absl::OkStatus();
}

// The ranks' own counts are summed, as in PPO, and must be the step's.
absl::StatusOr<int64_t> GlobalTokens(const TrainingContext& context, const SftRows& rows,
                                     const std::vector<std::vector<int64_t>>& mine) {
  int64_t count = 0, expected = 0;
  for (const std::vector<int64_t>& sequences : mine) {
    for (const int64_t i : sequences) count += rows.TrainedTokens(i);
  }
  for (int64_t i = 0; i < rows.count(); ++i) expected += rows.TrainedTokens(i);
  const at::Tensor total = at::tensor({count}, at::kLong);
  RETORT_RETURN_IF_ERROR(context.group->AllReduceSum(total));
  if (total.item<int64_t>() == expected) return expected;
  return absl::DataLossError(absl::StrCat("the ranks' shares of the step hold ",
                                          total.item<int64_t>(), " trained tokens, expected ",
                                          expected));
}

// The batch without the rows that predict tokens which are not trained: the user's between two
// turns of the assistant.
void KeepTrained(const SftRows& rows, model::ResponseBatch* batch) {
  std::vector<int64_t> kept;
  int64_t row = 0;
  for (const int64_t i : batch->sequences) {
    for (int64_t t = rows.begin[i] + rows.prompt_lengths[i]; t < rows.begin[i + 1]; ++t, ++row) {
      if (rows.trained[t]) kept.push_back(row);
    }
  }
  if (static_cast<int64_t>(kept.size()) == row) return;
  const at::Tensor index = at::tensor(kept, at::kLong);
  batch->rows = batch->rows.index_select(0, index);
  batch->targets = batch->targets.index_select(0, index);
}

at::Tensor BackwardOne(const TrainingContext& context, const SftRows& rows,
                       const std::vector<int64_t>& sequences, int64_t global_tokens) {
  const model::Model& model = context.model->model;
  model::ResponseBatch batch =
      model::MakeResponseBatch({rows.tokens, rows.begin, rows.prompt_lengths}, sequences);
  KeepTrained(rows, &batch);
  const model::SelectedLogProbs selected =
      model.LogProbs(model::ResponseHidden(model, batch), batch.targets,
                     /*temperature=*/1, context.policy->mask);
  const objective::SftLossPart part = objective::SftTokenLoss(
      selected.log_probs, /*mask=*/{}, selected.entropy.detach(), /*correct=*/{}, global_tokens);
  objective::TotalLoss({part.term}).backward();
  return part.sums.cpu();
}

v1::StepRecord RecordOf(const SftRows& rows, const objective::SftStatistics& statistics,
                        int64_t step, double learning_rate, double grad_norm) {
  v1::StepRecord record;
  record.set_step(step);
  auto& scalars = *record.mutable_scalars();
  PutNumber(scalars, "loss", statistics.loss);
  PutNumber(scalars, "entropy", statistics.entropy);
  PutNumber(scalars, "learning_rate", learning_rate);
  PutNumber(scalars, "grad_norm", grad_norm);
  PutNumber(scalars, "num_tokens", static_cast<double>(rows.begin.back()));
  PutNumber(scalars, "completions/mean_length",
            static_cast<double>(statistics.tokens) / static_cast<double>(rows.count()));
  return record;
}

}  // namespace

std::vector<int64_t> SftRows::Lengths() const {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < count(); ++i) lengths.push_back(begin[i + 1] - begin[i]);
  return lengths;
}

int64_t SftRows::TrainedTokens(int64_t i) const {
  return std::count(trained.begin() + begin[i], trained.begin() + begin[i + 1], true);
}

absl::StatusOr<SftRows> EncodeSftRows(const PolicyText& policy, const data::Dataset& dataset,
                                      absl::Span<const int64_t> rows) {
  const absl::StatusOr<int64_t> eos = data::EosOf(*policy.tokenizer, policy.stop_ids);
  SftRows encoded;
  encoded.begin.push_back(0);
  for (const int64_t row : rows) {
    if (row < 0 || row >= dataset.size()) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, " is not in ", dataset.source(),
                                                     " of ", dataset.size(), " rows"));
    }
    RETORT_RETURN_IF_ERROR(
        WithContext(AppendRow(policy, dataset.row(row), eos, &encoded), dataset.Where(row)));
  }
  return encoded;
}

absl::StatusOr<at::Tensor> AccumulateSftGradient(const TrainingContext& context,
                                                 const SftRows& rows) {
  std::vector<int64_t> all(rows.count());
  std::iota(all.begin(), all.end(), 0);
  RETORT_ASSIGN_OR_RETURN(
      const std::vector<std::vector<int64_t>> mine,
      MicroBatchesOfRank(all, rows.Lengths(), context.spec->optimizer().micro_batch_tokens(),
                         context.group->rank(), context.group->world_size()));
  RETORT_ASSIGN_OR_RETURN(const int64_t global_tokens, GlobalTokens(context, rows, mine));
  const at::Tensor sums = objective::NewSftSums();
  for (const std::vector<int64_t>& sequences : mine) {
    if (&sequences == &mine.back()) context.buckets->ExpectLastBackward();
    RETORT_RETURN_IF_ERROR(tensor::CatchTorch(
        [&] { sums.add_(BackwardOne(context, rows, sequences, global_tokens)); }));
    RETORT_RETURN_IF_ERROR(context.on_micro_batch());
  }
  RETORT_RETURN_IF_ERROR(context.buckets->LaunchRest());
  return sums;
}

absl::StatusOr<StepOutcome> RunSftStep(const TrainingContext& context, const SftRows& rows,
                                       const checkpoint::TrainerState& state, StepClock* clock) {
  context.model->gradients.flat().zero_();
  RETORT_ASSIGN_OR_RETURN(const at::Tensor sums, clock->Time("backward", [&] {
    return AccumulateSftGradient(context, rows);
  }));
  RETORT_RETURN_IF_ERROR(clock->Time("reduce", [&] { return context.group->AllReduceSum(sums); }));
  RETORT_ASSIGN_OR_RETURN(const double grad_norm, clock->Time("reduce", [&] {
    return ReduceAndClip(context.optimizer, *context.buckets, context.model);
  }));
  const objective::SftStatistics statistics = objective::FinishSftStatistics(sums);
  const double learning_rate = objective::LearningRateAt(context.lr_schedule, state.step);
  StepOutcome outcome;
  outcome.record = RecordOf(rows, statistics, state.step, learning_rate, grad_norm);
  outcome.state = state;
  ++outcome.state.step;
  if (!std::isfinite(statistics.loss) || !std::isfinite(grad_norm)) {
    outcome.bad = true;
    outcome.why = absl::StrCat("loss ", statistics.loss, ", gradient norm ", grad_norm);
    ++outcome.state.bad_steps;
    PutNumber(*outcome.record.mutable_scalars(), "bad_step", 1);
    LogWarning("bad step step={} in_a_row={} why=\"{}\"", state.step, outcome.state.bad_steps,
               outcome.why);
    return outcome;
  }
  outcome.state.bad_steps = 0;
  ++outcome.state.optimizer_steps;
  RETORT_RETURN_IF_ERROR(clock->Time("apply", [&] {
    return ApplyUpdate(context.optimizer, outcome.state.optimizer_steps, learning_rate,
                       context.model);
  }));
  return outcome;
}

}  // namespace retort::worker
