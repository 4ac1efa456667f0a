// Generates the samples of one bundle and scores them with the job's rewards. No wire: a bundle's
// artifact is a function of the job, the rows and the weights alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/artifact/rollout.h"
#include "common/data/dataset.h"
#include "common/model/generate.h"
#include "common/model/model.h"
#include "retort/v1/control.pb.h"
#include "worker/reward/reward_set.h"
#include "worker/weight_sync/policy_source.h"

namespace retort::worker {

struct BundleRequest {
  v1::BundleId bundle;
  int64_t version = 0;
  int64_t first_slot = 0;
  std::vector<int64_t> rows;  // Dataset row of each slot.
};

struct GeneratedBundle {
  artifact::Rollout rollout;             // N samples; nobody fetches an EVAL bundle's.
  std::vector<std::string> prompts;      // [N] text, for people.
  std::vector<std::string> completions;  // [N] decoded without special tokens.
  std::vector<uint8_t> exact_matches;    // [N] ended by EOS and MatchesAnswer.
  int64_t generated_tokens = 0;
  std::string gave_up_why;  // Why a reward gave up on a completion, the first; empty: none did.
};

// At most `limit` samples for people: the first sample of the first slots, text cut to 1024 bytes.
std::vector<v1::SampleText> SampleTexts(const GeneratedBundle& bundle, int limit);

v1::EvalTotals TotalsOf(const GeneratedBundle& bundle);

// Not thread-safe.
class BundleGenerator {
 public:
  // Loads the datasets and compiles the rewards. Errors: those of Dataset::Load and
  // RewardSet::Make.
  static absl::StatusOr<std::unique_ptr<BundleGenerator>> Make(const v1::JobSpec& spec,
                                                               const PolicyText* policy);

  // Called for every generated token with their count so far; an error ends the work.
  using TokenHook = std::function<absl::Status(int64_t tokens)>;

  // TRAIN: samples_per_prompt samples a slot, drawn with the counters of (seed, step, slot,
  // sample). EVAL: one greedy sample a row of data.validation. Errors: INVALID_ARGUMENT a row that
  // does not exist or cannot be encoded (names file and line); those of model::Generate and
  // RewardSet::Score.
  absl::StatusOr<GeneratedBundle> Generate(const model::Model& model, const BundleRequest& request,
                                           const TokenHook& on_token);

 private:
  BundleGenerator(const v1::JobSpec& spec, const PolicyText* policy, RewardSet rewards);
  absl::Status LoadRows();
  absl::StatusOr<const data::Dataset*> RowsOf(v1::BundleKind kind) const;
  model::SamplingOptions SamplingOf(v1::BundleKind kind) const;
  absl::StatusOr<std::vector<data::EncodedPrompt>> Prompts(const BundleRequest& request) const;
  absl::StatusOr<GeneratedBundle> Assemble(const BundleRequest& request,
                                           absl::Span<const data::EncodedPrompt> prompts,
                                           absl::Span<const model::GeneratedSample> samples) const;
  absl::Status AddSample(const data::Row& row, const data::EncodedPrompt& prompt,
                         const model::GeneratedSample& sample, GeneratedBundle* bundle) const;

  const v1::JobSpec spec_;
  const PolicyText* const policy_;
  const RewardSet rewards_;
  std::optional<data::Dataset> train_;       // RL only.
  std::optional<data::Dataset> validation_;  // Only when the job evaluates.
};

}  // namespace retort::worker
