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
  int64_t generated;   // Tokens that follow the text.
  int64_t max_tokens;  // Of a whole sequence.
  std::string limit;   // Where max_tokens comes from.
};

int64_t TextBytes(const Fit& fit, int64_t row) {
  const data::Row& r = fit.dataset->row(row);
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

absl::Status CheckLength(const Fit& fit, int64_t row, int64_t text_tokens,
                         const FieldPositions& at) {
  if (text_tokens + fit.generated <= fit.max_tokens) return absl::OkStatus();
  return at.Error(
      fit.field, absl::StrCat("has ", fit.with_response ? "a row" : "a prompt", " of ", text_tokens,
                              " tokens at ", fit.dataset->Where(row), "; expected at most ",
                              fit.max_tokens - fit.generated, " (", fit.limit,
                              fit.with_response ? " - 1 for EOS)" : " - rollout.max_new_tokens)"));
}

absl::Status ScanRows(const Fit& fit, const v1::JobSpec& spec, const FieldPositions& at,
                      const text::Tokenizer& tokenizer, Plan* plan) {
  if (!fit.with_response && fit.generated >= fit.max_tokens) {
    return at.Error("rollout.max_new_tokens",
                    absl::StrCat("is ", fit.generated, "; expected less than ", fit.limit));
  }
  for (const int64_t row : RowsToCheck(fit, &plan->notes)) {
    const data::Row& r = fit.dataset->row(row);
    const auto prompt = tokenizer.Encode(r.prompt, /*add_special_tokens=*/false);
    if (!prompt.ok())
      return at.Wrap(fit.field, WithContext(prompt.status(), fit.dataset->Where(row)));
    const int64_t tokens = static_cast<int64_t>(prompt->size()) + (spec.data().add_bos() ? 1 : 0);
    if (tokens == 0) {
      return at.Error(fit.field, absl::StrCat("has an empty prompt at ", fit.dataset->Where(row),
                                              "; expected at least one token, or data.add_bos: "
                                              "true"));
    }
    int64_t sequence = tokens;
    if (fit.with_response) {
      const auto response = tokenizer.Encode(r.response, /*add_special_tokens=*/false);
      if (!response.ok()) {
        return at.Wrap(fit.field, WithContext(response.status(), fit.dataset->Where(row)));
      }
      sequence += static_cast<int64_t>(response->size());
    }
    RETORT_RETURN_IF_ERROR(CheckLength(fit, row, sequence, at));
    plan->longest_prompt = std::max(plan->longest_prompt, tokens);
    plan->longest_sequence = std::max(plan->longest_sequence, sequence + fit.generated);
  }
  return absl::OkStatus();
}

absl::Status CheckResponses(const std::string& field, const data::Dataset& dataset, int64_t rows,
                            const char* reader, const FieldPositions& at) {
  for (int64_t row = 0; row < rows; ++row) {
    if (dataset.row(row).has_response) continue;
    return at.Error(field, absl::StrCat("has no \"answer\" or \"response\" at ", dataset.Where(row),
                                        ", which ", reader, " needs"));
  }
  return absl::OkStatus();
}

absl::Status PlanTrainData(const v1::JobSpec& spec, const FieldPositions& at,
                           const PlannedModels& models, const data::Dataset& train, Plan* plan) {
  plan->train_rows = train.size();
  plan->train_digest = train.digest();
  if (!IsPpo(spec) || HasExactMatch(spec)) {
    RETORT_RETURN_IF_ERROR(
        CheckResponses("data.train", train, train.size(), IsPpo(spec) ? "exact_match" : "sft", at));
  }
  const int64_t context = models.config.max_position_embeddings;
  const int64_t micro_batch = spec.optimizer().micro_batch_tokens();
  Fit fit;
  fit.field = "data.train";
  fit.dataset = &train;
  fit.rows = train.size();
  fit.with_response = !IsPpo(spec);
  fit.generated = IsPpo(spec) ? spec.rollout().max_new_tokens() : 1;
  fit.max_tokens = std::min(context, micro_batch);
  fit.limit = context <= micro_batch ? absl::StrCat("the model's max_position_embeddings ", context)
                                     : absl::StrCat("optimizer.micro_batch_tokens ", micro_batch);
  RETORT_RETURN_IF_ERROR(ScanRows(fit, spec, at, *models.tokenizer, plan));
  if (plan->slots_per_step > train.size()) {
    plan->notes.push_back(absl::StrCat("a step draws ", plan->slots_per_step, " rows of ",
                                       train.size(), ": rows repeat inside a step"));
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
        CheckResponses("data.validation", *dataset, plan->eval_rows, "exact_match", at));
  }
  Fit fit;
  fit.field = "data.validation";
  fit.dataset = &*dataset;
  fit.rows = plan->eval_rows;
  fit.with_response = false;
  fit.generated = spec.rollout().max_new_tokens();
  fit.max_tokens = models.config.max_position_embeddings;
  fit.limit = absl::StrCat("the model's max_position_embeddings ", fit.max_tokens);
  return ScanRows(fit, spec, at, *models.tokenizer, plan);
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
