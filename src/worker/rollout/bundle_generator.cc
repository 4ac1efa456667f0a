#include "worker/rollout/bundle_generator.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/text/stream_decoder.h"
#include "worker/reward/reward_function.h"

namespace retort::worker {
namespace {

constexpr size_t kMaxSampleBytes = 1024;

// `text` cut to kMaxSampleBytes without splitting a code point.
std::string Cut(const std::string& text) {
  if (text.size() <= kMaxSampleBytes) return text;
  size_t end = kMaxSampleBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

std::vector<v1::SampleText> SampleTexts(const GeneratedBundle& bundle, int limit) {
  std::vector<v1::SampleText> texts;
  for (size_t slot = 0;
       slot < bundle.rollout.slots.size() && static_cast<int>(texts.size()) < limit; ++slot) {
    const size_t i = slot * bundle.rollout.n;
    v1::SampleText& text = texts.emplace_back();
    text.set_slot(bundle.rollout.slots[slot]);
    text.set_prompt(Cut(bundle.prompts[i]));
    text.set_completion(Cut(bundle.completions[i]));
    text.set_score(bundle.rollout.scores[i]);
  }
  return texts;
}

v1::EvalTotals TotalsOf(const GeneratedBundle& bundle) {
  v1::EvalTotals totals;
  totals.set_rows(bundle.rollout.samples());
  totals.set_exact_matches(
      std::accumulate(bundle.exact_matches.begin(), bundle.exact_matches.end(), int64_t{0}));
  totals.set_score_sum(
      std::accumulate(bundle.rollout.scores.begin(), bundle.rollout.scores.end(), 0.0));
  return totals;
}

BundleGenerator::BundleGenerator(const v1::JobSpec& spec, const PolicyText* policy,
                                 RewardSet rewards)
    : spec_(spec), policy_(policy), rewards_(std::move(rewards)) {}

absl::StatusOr<std::unique_ptr<BundleGenerator>> BundleGenerator::Make(const v1::JobSpec& spec,
                                                                       const PolicyText* policy) {
  RETORT_ASSIGN_OR_RETURN(RewardSet rewards, RewardSet::Make(spec.rewards()));
  auto generator =
      std::unique_ptr<BundleGenerator>(new BundleGenerator(spec, policy, std::move(rewards)));
  RETORT_RETURN_IF_ERROR(generator->LoadRows());
  return generator;
}

absl::Status BundleGenerator::LoadRows() {
  if (spec_.algorithm().type() != v1::ALGORITHM_TYPE_SFT) {
    RETORT_ASSIGN_OR_RETURN(train_, data::Dataset::Load(spec_.data().train()));
  }
  if (spec_.eval().every() > 0 && spec_.data().has_validation()) {
    RETORT_ASSIGN_OR_RETURN(validation_, data::Dataset::Load(spec_.data().validation()));
  }
  return absl::OkStatus();
}

absl::StatusOr<const data::Dataset*> BundleGenerator::RowsOf(v1::BundleKind kind) const {
  const std::optional<data::Dataset>& rows = kind == v1::BUNDLE_KIND_EVAL ? validation_ : train_;
  if (rows.has_value()) return &*rows;
  return absl::InvalidArgumentError(
      kind == v1::BUNDLE_KIND_EVAL
          ? "the lease wants an evaluation, but the job has no data.validation or eval"
          : "the lease wants training samples, but the job's method makes none");
}

model::SamplingOptions BundleGenerator::SamplingOf(v1::BundleKind kind) const {
  const v1::RolloutSpec& rollout = spec_.rollout();
  model::SamplingOptions options;
  options.max_new_tokens = rollout.max_new_tokens();
  options.filter.temperature = rollout.temperature();
  options.filter.top_k = rollout.top_k();
  options.filter.top_p = rollout.top_p();
  options.greedy = kind == v1::BUNDLE_KIND_EVAL;
  options.eos_ids = policy_->stop_ids;
  options.mask = policy_->mask;
  return options;
}

absl::StatusOr<std::vector<data::EncodedPrompt>> BundleGenerator::Prompts(
    const BundleRequest& request) const {
  const v1::BundleKind kind = request.bundle.kind();
  RETORT_ASSIGN_OR_RETURN(const data::Dataset* rows, RowsOf(kind));
  std::vector<data::EncodedPrompt> prompts;
  for (const int64_t row : request.rows) {
    if (row < 0 || row >= rows->size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the lease names row ", row, ", but ", rows->source(), " has ", rows->size(), " rows"));
    }
    absl::StatusOr<data::EncodedPrompt> prompt = policy_->rows->Prompt(rows->row(row));
    RETORT_RETURN_IF_ERROR(WithContext(prompt.status(), rows->Where(row)));
    prompts.push_back(*std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<GeneratedBundle> BundleGenerator::Generate(const model::Model& model,
                                                          const BundleRequest& request,
                                                          const TokenHook& on_token) {
  RETORT_ASSIGN_OR_RETURN(const std::vector<data::EncodedPrompt> prompts, Prompts(request));
  std::vector<std::vector<int64_t>> ids;
  for (const data::EncodedPrompt& prompt : prompts) ids.push_back(prompt.ids);
  const bool train = request.bundle.kind() == v1::BUNDLE_KIND_TRAIN;
  const int n = train ? spec_.data().samples_per_prompt() : 1;
  std::vector<model::SampleRequest> wanted;
  for (size_t slot = 0; slot < prompts.size(); ++slot) {
    for (int sample = 0; sample < n; ++sample) {
      wanted.push_back(
          {static_cast<int64_t>(slot),
           CounterRng(spec_.seed(), RngPurpose::kSampling,
                      static_cast<uint64_t>(request.bundle.step()),
                      static_cast<uint32_t>(request.first_slot + static_cast<int64_t>(slot)),
                      static_cast<uint32_t>(sample))});
    }
  }
  absl::Status stopped;
  int64_t tokens = 0;
  absl::StatusOr<std::vector<model::GeneratedSample>> samples =
      model::Generate(model, ids, wanted, SamplingOf(request.bundle.kind()),
                      {.max_batch = spec_.rollout().max_batch()}, [&](int64_t, int64_t) {
                        stopped = on_token(++tokens);
                        return stopped.ok();
                      });
  RETORT_RETURN_IF_ERROR(stopped);
  RETORT_RETURN_IF_ERROR(samples.status());
  return Assemble(request, prompts, *samples);
}

absl::StatusOr<GeneratedBundle> BundleGenerator::Assemble(
    const BundleRequest& request, absl::Span<const data::EncodedPrompt> prompts,
    absl::Span<const model::GeneratedSample> samples) const {
  RETORT_ASSIGN_OR_RETURN(const data::Dataset* rows, RowsOf(request.bundle.kind()));
  GeneratedBundle bundle;
  artifact::Rollout& rollout = bundle.rollout;
  rollout.bundle = request.bundle;
  rollout.version = request.version;
  rollout.rows = request.rows;
  rollout.n = static_cast<int32_t>(samples.size() / prompts.size());
  rollout.reward_names = rewards_.names();
  rollout.reward_gave_up.resize(rollout.reward_names.size());
  for (size_t slot = 0; slot < prompts.size(); ++slot) {
    rollout.slots.push_back(request.first_slot + static_cast<int64_t>(slot));
    for (int sample = 0; sample < rollout.n; ++sample) {
      RETORT_RETURN_IF_ERROR(AddSample(rows->row(request.rows[slot]), prompts[slot],
                                       samples[slot * rollout.n + sample], &bundle));
    }
  }
  if (bundle.gave_up_why.empty()) {
    rollout.reward_gave_up.clear();
  } else {
    LogWarning(
        "rewards gave up on completions, which score 0 step={} bundle={} count={} why=\"{}\"",
        rollout.bundle.step(), rollout.bundle.index(),
        std::accumulate(rollout.reward_gave_up.begin(), rollout.reward_gave_up.end(), 0),
        bundle.gave_up_why);
  }
  return bundle;
}

absl::Status BundleGenerator::AddSample(const data::Row& row, const data::EncodedPrompt& prompt,
                                        const model::GeneratedSample& sample,
                                        GeneratedBundle* bundle) const {
  RETORT_ASSIGN_OR_RETURN(std::string text,
                          text::DecodeContinuation(*policy_->tokenizer, prompt.ids, sample.ids));
  RETORT_ASSIGN_OR_RETURN(const RewardResult reward,
                          rewards_.Score({.prompt = prompt.text,
                                          .text = text,
                                          .tokens = static_cast<int64_t>(sample.ids.size()),
                                          .finished = sample.finished(),
                                          .answer = row.response}));
  artifact::Rollout& rollout = bundle->rollout;
  rollout.prompt_lengths.push_back(static_cast<int32_t>(prompt.ids.size()));
  rollout.response_lengths.push_back(static_cast<int32_t>(sample.ids.size()));
  rollout.token_ids.insert(rollout.token_ids.end(), prompt.ids.begin(), prompt.ids.end());
  rollout.token_ids.insert(rollout.token_ids.end(), sample.ids.begin(), sample.ids.end());
  rollout.behaviour_log_probs.insert(rollout.behaviour_log_probs.end(), sample.log_probs.begin(),
                                     sample.log_probs.end());
  rollout.finished.push_back(sample.finished() ? 1 : 0);
  rollout.scores.push_back(static_cast<float>(reward.score));
  rollout.reward_parts.insert(rollout.reward_parts.end(), reward.parts.begin(), reward.parts.end());
  for (size_t r = 0; r < reward.gave_up.size(); ++r) rollout.reward_gave_up[r] += reward.gave_up[r];
  if (bundle->gave_up_why.empty()) bundle->gave_up_why = reward.why;
  bundle->exact_matches.push_back(
      sample.finished() && row.has_response && MatchesAnswer(text, row.response) ? 1 : 0);
  bundle->prompts.push_back(prompt.text);
  bundle->completions.push_back(std::move(text));
  bundle->generated_tokens += static_cast<int64_t>(sample.ids.size());
  return absl::OkStatus();
}

}  // namespace retort::worker
