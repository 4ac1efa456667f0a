#include "worker/learner/step_samples.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::worker {
namespace {

// Collects the bundles one by one; finishes with the padded tensors.
class Assembler {
 public:
  explicit Assembler(const StepShape& shape) : shape_(shape) {
    samples_.begin.push_back(0);
    samples_.response_begin.push_back(0);
  }

  absl::Status Add(const artifact::Rollout& rollout, const artifact::Scores& scores);
  absl::StatusOr<StepSamples> Finish();

 private:
  absl::Status CheckRollout(const artifact::Rollout& rollout) const;
  absl::Status CheckScores(const artifact::Rollout& rollout, const artifact::Scores& scores) const;
  absl::Status AddSamples(const artifact::Rollout& rollout);
  std::vector<float> ReferenceOfTokens() const;

  const StepShape shape_;
  StepSamples samples_;
  int64_t next_bundle_ = 0;
  int64_t next_slot_ = 0;
  int64_t vocab_ = 0;
  std::vector<float> behaviour_;
  std::vector<float> reference_;
  std::vector<float> scores_;
  std::vector<float> parts_;
};

absl::Status Wrong(absl::string_view what, const v1::BundleId& bundle, const std::string& why) {
  return absl::DataLossError(
      absl::StrCat(what, " of bundle ", bundle.index(), " of step ", bundle.step(), ": ", why));
}

absl::Status Assembler::CheckRollout(const artifact::Rollout& rollout) const {
  const v1::BundleId& bundle = rollout.bundle;
  if (bundle.kind() != v1::BUNDLE_KIND_TRAIN || bundle.step() != shape_.step ||
      bundle.index() != next_bundle_) {
    return Wrong("rollout", bundle,
                 absl::StrCat("expected training bundle ", next_bundle_, " of step ", shape_.step));
  }
  if (rollout.version != shape_.version) {
    return Wrong("rollout", bundle,
                 absl::StrCat("policy version ", rollout.version, ", expected ", shape_.version));
  }
  if (rollout.n != shape_.samples_per_prompt || rollout.slots.empty()) {
    return Wrong("rollout", bundle,
                 absl::StrCat(rollout.slots.size(), " slots of ", rollout.n, " samples, expected ",
                              shape_.samples_per_prompt, " samples"));
  }
  for (size_t i = 0; i < rollout.slots.size(); ++i) {
    if (rollout.slots[i] != next_slot_ + static_cast<int64_t>(i)) {
      return Wrong("rollout", bundle,
                   absl::StrCat("slot ", rollout.slots[i], " where ", next_slot_ + i, " follows"));
    }
  }
  if (next_bundle_ > 0 && rollout.reward_names != samples_.reward_names) {
    return Wrong("rollout", bundle, "other rewards than in bundle 0");
  }
  return absl::OkStatus();
}

absl::Status Assembler::CheckScores(const artifact::Rollout& rollout,
                                    const artifact::Scores& scores) const {
  const v1::BundleId& bundle = rollout.bundle;
  if (scores.bundle.kind() != bundle.kind() || scores.bundle.step() != bundle.step() ||
      scores.bundle.index() != bundle.index()) {
    return Wrong("scores", bundle,
                 absl::StrCat("they are of bundle ", scores.bundle.index(), " of step ",
                              scores.bundle.step()));
  }
  if ((scores.vocab != 0) != shape_.full_reference || (vocab_ != 0 && scores.vocab != vocab_)) {
    return Wrong(
        "scores", bundle,
        absl::StrCat("rows of ", scores.vocab, " log-probs do not fit the job's kl_penalty"));
  }
  if (shape_.full_reference && scores.vocab < shape_.mask.limit) {
    return Wrong("scores", bundle,
                 absl::StrCat("rows of ", scores.vocab, " log-probs, the vocabulary has ",
                              shape_.mask.limit));
  }
  if (scores.tokens() != static_cast<int64_t>(rollout.behaviour_log_probs.size())) {
    return Wrong("scores", bundle,
                 absl::StrCat(scores.tokens(), " tokens, the rollout has ",
                              rollout.behaviour_log_probs.size()));
  }
  return absl::OkStatus();
}

absl::Status Assembler::AddSamples(const artifact::Rollout& rollout) {
  for (int64_t i = 0; i < rollout.samples(); ++i) {
    const int64_t prompt = rollout.prompt_lengths[i];
    const int64_t response = rollout.response_lengths[i];
    if (prompt < 1 || response < 1) {
      return Wrong("rollout", rollout.bundle,
                   absl::StrCat("sample ", i, " has ", prompt, " prompt and ", response,
                                " response tokens; each must be at least 1"));
    }
    samples_.prompt_lengths.push_back(prompt);
    samples_.response_lengths.push_back(response);
    samples_.begin.push_back(samples_.begin.back() + prompt + response);
    samples_.response_begin.push_back(samples_.response_begin.back() + response);
  }
  for (const int32_t id : rollout.token_ids) {
    if (!shape_.mask.Contains(id)) {
      return Wrong("rollout", rollout.bundle,
                   absl::StrCat("id ", id, " is no token; ids are below ", shape_.mask.limit));
    }
    samples_.tokens.push_back(id);
  }
  return absl::OkStatus();
}

template <typename T>
void Append(const std::vector<T>& from, std::vector<T>& to) {
  to.insert(to.end(), from.begin(), from.end());
}

absl::Status Assembler::Add(const artifact::Rollout& rollout, const artifact::Scores& scores) {
  RETORT_RETURN_IF_ERROR(CheckRollout(rollout));
  RETORT_RETURN_IF_ERROR(CheckScores(rollout, scores));
  RETORT_RETURN_IF_ERROR(AddSamples(rollout));
  samples_.reward_names = rollout.reward_names;
  samples_.reward_gave_up.resize(rollout.reward_names.size());
  for (size_t r = 0; r < rollout.reward_gave_up.size(); ++r) {
    samples_.reward_gave_up[r] += rollout.reward_gave_up[r];
  }
  vocab_ = scores.vocab;
  Append(rollout.finished, samples_.finished);
  Append(rollout.behaviour_log_probs, behaviour_);
  Append(scores.ref_log_probs, reference_);
  Append(rollout.scores, scores_);
  Append(rollout.reward_parts, parts_);
  ++next_bundle_;
  next_slot_ += static_cast<int64_t>(rollout.slots.size());
  return absl::OkStatus();
}

// The full rows' entries at the tokens that were sampled.
std::vector<float> Assembler::ReferenceOfTokens() const {
  std::vector<float> selected;
  const float* row = reference_.data();
  for (int64_t i = 0; i < samples_.count(); ++i) {
    for (int64_t at = samples_.begin[i] + samples_.prompt_lengths[i]; at < samples_.begin[i + 1];
         ++at) {
      selected.push_back(row[samples_.tokens[at]]);
      row += vocab_;
    }
  }
  return selected;
}

at::Tensor CopyOf(const std::vector<float>& values, at::IntArrayRef shape) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
  return tensor;
}

at::Tensor MaskOf(const std::vector<int64_t>& lengths, int64_t longest) {
  at::Tensor mask = at::zeros({static_cast<int64_t>(lengths.size()), longest}, at::kBool);
  bool* row = mask.data_ptr<bool>();
  for (const int64_t length : lengths) {
    std::fill(row, row + length, true);
    row += longest;
  }
  return mask;
}

absl::StatusOr<StepSamples> Assembler::Finish() {
  if (next_slot_ != shape_.prompts) {
    return absl::DataLossError(absl::StrCat("step ", shape_.step, ": the bundles hold ", next_slot_,
                                            " slots, expected ", shape_.prompts));
  }
  const std::vector<int64_t>& lengths = samples_.response_lengths;
  const int64_t n = samples_.count();
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  samples_.mask = MaskOf(lengths, longest);
  samples_.behaviour = PadResponses(behaviour_, lengths, longest);
  if (shape_.full_reference) {
    samples_.full_reference = CopyOf(reference_, {samples_.response_tokens(), vocab_});
    samples_.reference = PadResponses(ReferenceOfTokens(), lengths, longest);
  } else {
    samples_.reference = PadResponses(reference_, lengths, longest);
  }
  samples_.scores = CopyOf(scores_, {n});
  samples_.reward_parts = CopyOf(parts_, {n, static_cast<int64_t>(samples_.reward_names.size())});
  return std::move(samples_);
}

}  // namespace

std::vector<int64_t> StepSamples::SequenceLengths() const {
  std::vector<int64_t> lengths(prompt_lengths);
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] += response_lengths[i];
  return lengths;
}

absl::StatusOr<StepSamples> AssembleSamples(const StepShape& shape,
                                            absl::Span<const artifact::Rollout> rollouts,
                                            absl::Span<const artifact::Scores> scores) {
  if (rollouts.size() != scores.size()) {
    return absl::DataLossError(absl::StrCat("step ", shape.step, ": ", rollouts.size(),
                                            " rollouts but ", scores.size(), " scores"));
  }
  Assembler assembler(shape);
  for (size_t i = 0; i < rollouts.size(); ++i) {
    RETORT_RETURN_IF_ERROR(assembler.Add(rollouts[i], scores[i]));
  }
  return assembler.Finish();
}

at::Tensor PadResponses(absl::Span<const float> values, absl::Span<const int64_t> response_lengths,
                        int64_t longest) {
  at::Tensor padded =
      at::zeros({static_cast<int64_t>(response_lengths.size()), longest}, at::kFloat);
  float* row = padded.data_ptr<float>();
  const float* value = values.data();
  for (const int64_t length : response_lengths) {
    std::copy(value, value + length, row);
    value += length;
    row += longest;
  }
  return padded;
}

}  // namespace retort::worker
