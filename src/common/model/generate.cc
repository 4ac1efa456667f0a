#include "common/model/generate.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/decoder.h"
#include "common/tensor/torch_process.h"

namespace retort::model {
namespace {

using Prompts = absl::Span<const std::vector<int64_t>>;

constexpr int64_t kNone = -1;

absl::Status CheckPrompts(const layout::ModelConfig& config, Prompts prompts,
                          const SamplingOptions& options) {
  for (size_t p = 0; p < prompts.size(); ++p) {
    if (prompts[p].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("prompt ", p, " is empty; expected at least one token"));
    }
    for (const int64_t id : prompts[p]) {
      if (id < 0 || id >= config.vocab_size) {
        return absl::InvalidArgumentError(
            absl::StrCat("prompt ", p, " holds id ", id, "; the model has ", config.vocab_size));
      }
    }
    const int64_t length = static_cast<int64_t>(prompts[p].size());
    if (length > config.max_position_embeddings - options.max_new_tokens) {
      return absl::InvalidArgumentError(absl::StrCat(
          "prompt ", p, " of ", length, " tokens and max_new_tokens ", options.max_new_tokens,
          " exceed the model's max_position_embeddings ", config.max_position_embeddings));
    }
  }
  return absl::OkStatus();
}

absl::Status Check(const layout::ModelConfig& config, Prompts prompts,
                   absl::Span<const SampleRequest> samples, const SamplingOptions& options) {
  RETORT_RETURN_IF_ERROR(ValidateFilter(options.filter));
  if (options.max_new_tokens < 1 || options.max_new_tokens > config.max_position_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens is ", options.max_new_tokens, "; expected [1, ",
                     config.max_position_embeddings, "], the model's max_position_embeddings"));
  }
  if (options.vocab_limit < 0 || options.vocab_limit > config.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat("vocab_limit is ", options.vocab_limit,
                                                   "; expected [0, ", config.vocab_size, "]"));
  }
  if (options.max_batch < 1 || options.max_prefill_tokens < 1) {
    return absl::InvalidArgumentError("max_batch and max_prefill_tokens must be at least 1");
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].prompt < 0 || samples[i].prompt >= static_cast<int64_t>(prompts.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample ", i, " names prompt ", samples[i].prompt, " of ", prompts.size()));
    }
  }
  return CheckPrompts(config, prompts, options);
}

FilterOptions WithoutTruncation(FilterOptions filter) {
  filter.top_k = 0;
  filter.top_p = 1.0;
  filter.min_p = 0.0;
  return filter;
}

// One call of Generate. Each round admits waiting samples to free slots, feeds every active slot's
// tokens (its prompt when new, else its last token) in one forward, and draws one token for each.
class Generation {
 public:
  Generation(const Model& model, Prompts prompts, absl::Span<const SampleRequest> samples,
             const SamplingOptions& options, const TokenCallback& on_token)
      : model_(model),
        prompts_(prompts),
        samples_(samples.begin(), samples.end()),
        options_(options),
        on_token_(on_token),
        limit_(options.vocab_limit == 0 ? model.config().vocab_size : options.vocab_limit),
        filter_(options.greedy ? WithoutTruncation(options.filter) : options.filter),
        raw_filter_(FilterOptions{}),
        results_(samples.size()),
        prefilled_(prompts.size(), kNone) {
    const int64_t slots = std::min<int64_t>(options.max_batch, std::max<size_t>(1, samples.size()));
    size_t longest = 0;
    for (const SampleRequest& sample : samples) {
      longest = std::max(longest, prompts[sample.prompt].size());
    }
    decoder_.emplace(model, slots, static_cast<int64_t>(longest) + options.max_new_tokens);
    slots_.resize(slots);
    for (size_t i = 0; i < samples.size(); ++i) waiting_.push_back(static_cast<int64_t>(i));
  }

  absl::StatusOr<std::vector<GeneratedSample>> Run() {
    while (done_ < static_cast<int64_t>(samples_.size())) {
      Admit();
      FeedRows();
      const float* logits = decoder_->Forward(rows_);
      RETORT_RETURN_IF_ERROR(DrawTokens(logits));
    }
    return std::move(results_);
  }

 private:
  struct Slot {
    int64_t sample = kNone;
    int64_t cached = 0;  // Positions in the cache.
  };

  const std::vector<int64_t>& PromptOf(int64_t sample) const {
    return prompts_[samples_[sample].prompt];
  }

  // Fills free slots in sample order. A prompt that another active slot holds is copied but for its
  // last token; one that enters in this very round makes its siblings wait for the next.
  void Admit() {
    int64_t budget = options_.max_prefill_tokens;
    std::vector<int64_t> entering, left;
    size_t next_slot = 0;
    bool full = false;
    for (const int64_t sample : waiting_) {
      while (next_slot < slots_.size() && slots_[next_slot].sample != kNone) ++next_slot;
      full = full || next_slot == slots_.size();
      const int64_t prompt = samples_[sample].prompt;
      const int64_t length = static_cast<int64_t>(PromptOf(sample).size());
      const bool sibling_enters =
          std::find(entering.begin(), entering.end(), prompt) != entering.end();
      if (full || sibling_enters) {
        left.push_back(sample);
        continue;
      }
      const int64_t holder = prefilled_[prompt];
      const int64_t cached = holder == kNone ? 0 : length - 1;
      if (holder == kNone) {
        if (length > budget && !entering.empty()) {
          full = true;
          left.push_back(sample);
          continue;
        }
        budget -= length;
        entering.push_back(prompt);
      } else {
        decoder_->CopyPrefix(holder, static_cast<int64_t>(next_slot), cached);
      }
      slots_[next_slot] = {sample, cached};
    }
    for (size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].sample == kNone) continue;
      int64_t& holder = prefilled_[samples_[slots_[s].sample].prompt];
      if (holder == kNone) holder = static_cast<int64_t>(s);
    }
    waiting_ = std::move(left);
  }

  // The tokens of every active slot that its cache lacks.
  void FeedRows() {
    rows_.Clear();
    for (size_t s = 0; s < slots_.size(); ++s) {
      Slot& slot = slots_[s];
      if (slot.sample == kNone) continue;
      const std::vector<int64_t>& prompt = PromptOf(slot.sample);
      const std::vector<int64_t>& response = results_[slot.sample].ids;
      const int64_t length = static_cast<int64_t>(prompt.size());
      const int64_t end = length + static_cast<int64_t>(response.size());
      for (; slot.cached < end; ++slot.cached) {
        rows_.ids.push_back(slot.cached < length ? prompt[slot.cached]
                                                 : response[slot.cached - length]);
        rows_.slots.push_back(static_cast<int64_t>(s));
        rows_.positions.push_back(slot.cached);
      }
      rows_.wanted.push_back(static_cast<int64_t>(rows_.ids.size()) - 1);
    }
  }

  absl::Status DrawTokens(const float* logits) {
    const int64_t vocab = model_.config().vocab_size;
    for (size_t s = 0; s < slots_.size(); ++s) {
      const int64_t sample = slots_[s].sample;
      if (sample == kNone) continue;
      RETORT_RETURN_IF_ERROR(DrawToken(sample, absl::MakeConstSpan(logits, vocab)));
      logits += vocab;
      GeneratedSample& result = results_[sample];
      if (on_token_ != nullptr && !on_token_(sample, result.ids.back())) {
        return absl::CancelledError("generation was cancelled by its caller");
      }
      result.finished = std::find(options_.eos_ids.begin(), options_.eos_ids.end(),
                                  result.ids.back()) != options_.eos_ids.end();
      if (result.finished || static_cast<int64_t>(result.ids.size()) == options_.max_new_tokens) {
        Retire(static_cast<int64_t>(s));
      }
    }
    return absl::OkStatus();
  }

  absl::Status DrawToken(int64_t sample, absl::Span<const float> logits) {
    GeneratedSample& result = results_[sample];
    if (options_.filter.repetition_penalty != 1.0) {
      context_ = PromptOf(sample);
      context_.insert(context_.end(), result.ids.begin(), result.ids.end());
    }
    if (!filter_.Apply(logits, limit_, context_)) {
      return absl::InternalError(
          absl::StrCat("sample ", sample, ", token ", result.ids.size(),
                       ": the model's logits are not finite; its weights have diverged"));
    }
    const int64_t id =
        options_.greedy ? filter_.Largest() : filter_.Draw(samples_[sample].rng.NextUniform());
    result.ids.push_back(id);
    result.log_probs.push_back(filter_.LogProb(id));
    if (options_.raw_log_probs) {
      // The same finite logits, so there is a distribution.
      if (raw_filter_.Apply(logits, model_.config().vocab_size, {})) {
        result.raw_log_probs.push_back(raw_filter_.LogProb(id));
      }
    }
    return absl::OkStatus();
  }

  // Frees the slot; another slot with the same prompt, if any, becomes the one to copy from.
  void Retire(int64_t slot) {
    int64_t& holder = prefilled_[samples_[slots_[slot].sample].prompt];
    const int64_t prompt = samples_[slots_[slot].sample].prompt;
    slots_[slot] = {};
    ++done_;
    if (holder != slot) return;
    holder = kNone;
    for (size_t s = 0; s < slots_.size() && holder == kNone; ++s) {
      if (slots_[s].sample != kNone && samples_[slots_[s].sample].prompt == prompt) {
        holder = static_cast<int64_t>(s);
      }
    }
  }

  const Model& model_;
  const Prompts prompts_;
  std::vector<SampleRequest> samples_;  // A copy: drawing advances the streams.
  const SamplingOptions& options_;
  const TokenCallback& on_token_;
  const int64_t limit_;
  RowFilter filter_, raw_filter_;
  std::vector<GeneratedSample> results_;
  std::vector<int64_t> prefilled_;  // By prompt: an active slot whose cache holds it, or kNone.
  std::optional<Decoder> decoder_;
  std::vector<Slot> slots_;
  std::vector<int64_t> waiting_;  // Samples, ascending.
  std::vector<int64_t> context_;
  DecoderRows rows_;
  int64_t done_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<GeneratedSample>> Generate(
    const Model& model, absl::Span<const std::vector<int64_t>> prompts,
    absl::Span<const SampleRequest> samples, const SamplingOptions& options,
    const TokenCallback& on_token) {
  RETORT_RETURN_IF_ERROR(Check(model.config(), prompts, samples, options));
  return tensor::CatchTorch([&]() -> absl::StatusOr<std::vector<GeneratedSample>> {
    const c10::InferenceMode inference;
    return Generation(model, prompts, samples, options, on_token).Run();
  });
}

}  // namespace retort::model
