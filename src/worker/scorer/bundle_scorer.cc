#include "worker/scorer/bundle_scorer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/packing.h"
#include "common/model/response_batch.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {
namespace {

// The bundle's samples as the sequence set that response batches are cut from.
struct Sequences {
  std::vector<int64_t> tokens;
  std::vector<int64_t> begin;
  std::vector<int64_t> prompt_lengths;
  std::vector<int64_t> lengths;
  std::vector<int64_t> response_begin;  // [N + 1]

  model::SequenceSet set() const { return {tokens, begin, prompt_lengths}; }
};

absl::StatusOr<Sequences> SequencesOf(const artifact::Rollout& rollout,
                                      const model::VocabMask& mask) {
  Sequences sequences;
  sequences.begin.push_back(0);
  sequences.response_begin.push_back(0);
  for (int64_t i = 0; i < rollout.samples(); ++i) {
    const int64_t prompt = rollout.prompt_lengths[i];
    const int64_t response = rollout.response_lengths[i];
    if (prompt < 1 || response < 1) {
      return absl::DataLossError(absl::StrCat("sample ", i, " of the rollout has ", prompt,
                                              " prompt and ", response,
                                              " response tokens; each must be at least 1"));
    }
    sequences.prompt_lengths.push_back(prompt);
    sequences.lengths.push_back(prompt + response);
    sequences.begin.push_back(sequences.begin.back() + prompt + response);
    sequences.response_begin.push_back(sequences.response_begin.back() + response);
  }
  for (const int32_t id : rollout.token_ids) {
    if (!mask.Contains(id)) {
      return absl::DataLossError(
          absl::StrCat("id ", id, " of the rollout is no token; ids are below ", mask.limit));
    }
    sequences.tokens.push_back(id);
  }
  return sequences;
}

// One micro-batch's rows into their places of `out` [T * width].
void ScoreSome(const model::Model& reference, const ScoringOptions& options,
               const Sequences& sequences, const std::vector<int64_t>& members, int64_t width,
               std::vector<float>* out) {
  const at::NoGradGuard no_grad;
  const model::ResponseBatch batch = model::MakeResponseBatch(sequences.set(), members);
  const at::Tensor hidden = model::ResponseHidden(reference, batch);
  const at::Tensor rows =
      (options.full
           ? reference.FullLogProbs(hidden, options.temperature, options.mask)
           : reference.LogProbs(hidden, batch.targets, options.temperature, options.mask).log_probs)
          .cpu()
          .contiguous();
  const float* row = rows.data_ptr<float>();
  for (size_t k = 0; k < members.size(); ++k) {
    const int64_t floats = batch.lengths[k] * width;
    std::copy(row, row + floats, out->begin() + sequences.response_begin[members[k]] * width);
    row += floats;
  }
}

}  // namespace

ScoringOptions ScoringOptionsOf(const v1::JobSpec& spec, const PolicyText& policy) {
  return {.temperature = spec.rollout().temperature(),
          .full = spec.algorithm().ppo().kl_penalty() == v1::KL_PENALTY_FULL,
          .mask = policy.mask,
          .micro_batch_tokens = spec.optimizer().micro_batch_tokens()};
}

absl::StatusOr<artifact::Scores> ScoreBundle(const model::Model& reference,
                                             const ScoringOptions& options,
                                             const artifact::Rollout& rollout,
                                             const std::function<absl::Status()>& on_micro_batch) {
  RETORT_ASSIGN_OR_RETURN(const Sequences sequences, SequencesOf(rollout, options.mask));
  RETORT_ASSIGN_OR_RETURN(const std::vector<std::vector<int64_t>> micro_batches,
                          data::PackMicroBatches(sequences.lengths, options.micro_batch_tokens));
  const int64_t width = options.full ? reference.config().vocab_size : 1;
  artifact::Scores scores;
  scores.bundle = rollout.bundle;
  scores.vocab = options.full ? width : 0;
  scores.ref_log_probs.resize(sequences.response_begin.back() * width);
  for (const std::vector<int64_t>& members : micro_batches) {
    RETORT_RETURN_IF_ERROR(tensor::CatchTorch(
        [&] { ScoreSome(reference, options, sequences, members, width, &scores.ref_log_probs); }));
    RETORT_RETURN_IF_ERROR(on_micro_batch());
  }
  return scores;
}

}  // namespace retort::worker
