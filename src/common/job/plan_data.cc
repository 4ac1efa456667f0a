#include "common/job/plan_data.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/dataset.h"
#include "common/job/applicability.h"

namespace retort::job {
namespace {

constexpr int64_t kMaxTokenisedBytes = int64_t{32} << 20;

bool HasExactMatch(const v1::JobSpec& spec) {
  return std::any_of(spec.rewards().begin(), spec.rewards().end(),
                     [](const v1::RewardSpec& reward) { return reward.has_exact_match(); });
}

// What one dataset's rows must fit.
struct Fit {
  std::string field;  // "data.train"
  const data::Dataset* dataset;
  int64_t rows;        // The first so many are used.
  bool with_response;  // Else the response is yet to be generated.
  int64_t generated;   // Tokens that a rollout adds to a prompt.
  int64_t max_tokens;  // Of a whole sequence.
  std::string limit;   // Where max_tokens comes from.
};

int64_t TextBytes(const Fit& fit, int64_t row) {
  const data::Row& r = fit.dataset->row(row);
  if (r.is_chat()) return static_cast<int64_t>(r.messages.size() + r.tools.size());
  return static_cast<int64_t>(r.prompt.size() + (fit.with_response ? r.response.size() : 0));
}

// Rows to tokenise: all, or the longest texts of a large file.
std::vector<int64_t> RowsToCheck(const Fit& fit, std::vector<std::string>* notes) {
  std::vector<int64_t> rows(fit.rows);
  std::iota(rows.begin(), rows.end(), 0);
  int64_t bytes = 0;
  for (const int64_t row : rows) bytes += TextBytes(fit, row);
  if (bytes <= kMaxTokenisedBytes) return rows;
  std::stable_sort(rows.begin(), rows.end(),
                   [&](int64_t a, int64_t b) { return TextBytes(fit, a) > TextBytes(fit, b); });
  bytes = 0;
  size_t kept = 0;
  while (kept < rows.size() && bytes <= kMaxTokenisedBytes) bytes += TextBytes(fit, rows[kept++]);
  rows.resize(kept);
  notes->push_back(absl::StrCat(fit.field, ": only the ", kept, " longest of ", fit.rows,
                                " rows were tokenised to check their length"));
  return rows;
}

// What a row asks for.
struct RowLength {
  int64_t prompt = 0;
  int64_t text = 0;      // All that is in the row.
  int64_t sequence = 0;  // And what follows it: EOS, or what is yet to be generated.
};

absl::StatusOr<RowLength> LengthOf(const Fit& fit, const PlannedModels& models, int64_t row) {
  const data::Row& r = fit.dataset->row(row);
  RowLength length;
  if (!fit.with_response) {
    RETORT_ASSIGN_OR_RETURN(const data::EncodedPrompt prompt, models.rows->Prompt(r));
    length.prompt = length.text = static_cast<int64_t>(prompt.ids.size());
    length.sequence = length.text + fit.generated;
    return length;
  }
  RETORT_ASSIGN_OR_RETURN(const data::EncodedExample example, models.rows->Example(r, models.eos));
  length.prompt = example.prompt_length;
  length.sequence = static_cast<int64_t>(example.ids.size());
  length.text = length.sequence - (r.is_chat() ? 0 : 1);
  return length;
}

absl::Status CheckLength(const Fit& fit, int64_t row, const RowLength& length,
                         const FieldPositions& at) {
  if (length.sequence <= fit.max_tokens) return absl::OkStatus();
  const int64_t follows = length.sequence - length.text;
  const char* const what = !fit.with_response ? " - rollout.max_new_tokens"
                           : follows > 0      ? " - 1 for EOS"
                                              : "";
  return at.Error(
      fit.field, absl::StrCat("has ", fit.with_response ? "a row" : "a prompt", " of ", length.text,
                              " tokens at ", fit.dataset->Where(row), "; expected at most ",
                              fit.max_tokens - follows, " (", fit.limit, what, ")"));
}

absl::Status ScanRows(const Fit& fit, const FieldPositions& at, const PlannedModels& models,
                      Plan* plan) {
  if (!fit.with_response && fit.generated >= fit.max_tokens) {
    return at.Error("rollout.max_new_tokens",
                    absl::StrCat("is ", fit.generated, "; expected less than ", fit.limit));
  }
  for (const int64_t row : RowsToCheck(fit, &plan->notes)) {
    const absl::StatusOr<RowLength> length = LengthOf(fit, models, row);
    if (!length.ok()) {
      return at.Wrap(fit.field, WithContext(length.status(), fit.dataset->Where(row)));
    }
    RETORT_RETURN_IF_ERROR(CheckLength(fit, row, *length, at));
    plan->longest_prompt = std::max(plan->longest_prompt, length->prompt);
    plan->longest_sequence = std::max(plan->longest_sequence, length->sequence);
  }
  return absl::OkStatus();
}

// A conversation of sft teaches its assistant's messages, an answer or none.
absl::Status CheckResponses(const std::string& field, const data::Dataset& dataset, int64_t rows,
                            bool sft, const FieldPositions& at) {
  for (int64_t row = 0; row < rows; ++row) {
    if (dataset.row(row).has_response || (sft && dataset.row(row).is_chat())) continue;
    return at.Error(field, absl::StrCat("has no \"answer\" or \"response\" at ", dataset.Where(row),
                                        ", which ", sft ? "sft" : "exact_match", " needs"));
  }
  return absl::OkStatus();
}

absl::Status PlanTrainData(const v1::JobSpec& spec, const FieldPositions& at,
                           const PlannedModels& models, const data::Dataset& train, Plan* plan) {
  plan->train_rows = train.size();
  plan->train_digest = train.digest();
  if (!IsPpo(spec) || HasExactMatch(spec)) {
    RETORT_RETURN_IF_ERROR(
        CheckResponses("data.train", train, train.size(), /*sft=*/!IsPpo(spec), at));
  }
  const int64_t context = models.config.max_position_embeddings;
  const int64_t micro_batch = spec.optimizer().micro_batch_tokens();
  Fit fit;
  fit.field = "data.train";
  fit.dataset = &train;
  fit.rows = train.size();
  fit.with_response = !IsPpo(spec);
  fit.generated = IsPpo(spec) ? spec.rollout().max_new_tokens() : 0;
  fit.max_tokens = std::min(context, micro_batch);
  fit.limit = context <= micro_batch ? absl::StrCat("the model's max_position_embeddings ", context)
                                     : absl::StrCat("optimizer.micro_batch_tokens ", micro_batch);
  RETORT_RETURN_IF_ERROR(ScanRows(fit, at, models, plan));
  if (plan->slots_per_step > train.size()) {
    plan->notes.push_back(absl::StrCat("a step draws ", plan->slots_per_step, " rows of ",
                                       train.size(), ": rows repeat inside a step"));
  }
  bool chat = false;
  for (int64_t row = 0; row < train.size() && !chat; ++row) chat = train.row(row).is_chat();
  if (chat && spec.data().add_bos()) {
    plan->notes.push_back(
        "data.add_bos does not concern rows of messages: their chat template writes what it wants");
  }
  return absl::OkStatus();
}

absl::Status PlanValidationData(const v1::JobSpec& spec, const FieldPositions& at,
                                const PlannedModels& models, Plan* plan) {
  const auto dataset = data::Dataset::Load(spec.data().validation());
  if (!dataset.ok()) return at.Wrap("data.validation", dataset.status());
  plan->validation_rows = dataset->size();
  plan->validation_digest = dataset->digest();
  const int64_t every = spec.eval().every();
  if (every == 0) {
    plan->notes.push_back("data.validation is not evaluated: eval.every is 0");
    return absl::OkStatus();
  }
  const int64_t most = spec.eval().max_prompts();
  plan->eval_rows = most == 0 ? dataset->size() : std::min(most, dataset->size());
  const int64_t batch = spec.rollout().max_batch();
  plan->eval_bundles = (plan->eval_rows + batch - 1) / batch;
  plan->evaluations =
      2 + (plan->steps - 1) / every;  // Version 0, each multiple below the last, the last.
  if (HasExactMatch(spec)) {
    RETORT_RETURN_IF_ERROR(
        CheckResponses("data.validation", *dataset, plan->eval_rows, /*sft=*/false, at));
  }
  Fit fit;
  fit.field = "data.validation";
  fit.dataset = &*dataset;
  fit.rows = plan->eval_rows;
  fit.with_response = false;
  fit.generated = spec.rollout().max_new_tokens();
  fit.max_tokens = models.config.max_position_embeddings;
  fit.limit = absl::StrCat("the model's max_position_embeddings ", fit.max_tokens);
  return ScanRows(fit, at, models, plan);
}

}  // namespace

absl::Status PlanData(const v1::JobSpec& spec, const FieldPositions& at,
                      const PlannedModels& models, Plan* plan) {
  const auto train = data::Dataset::Load(spec.data().train());
  if (!train.ok()) return at.Wrap("data.train", train.status());
  RETORT_RETURN_IF_ERROR(PlanTrainData(spec, at, models, *train, plan));
  if (!spec.data().has_validation()) return absl::OkStatus();
  return PlanValidationData(spec, at, models, plan);
}

}  // namespace retort::job
