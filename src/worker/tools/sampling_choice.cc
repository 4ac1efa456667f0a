#include "worker/tools/sampling_choice.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/data/stop_ids.h"

namespace retort::worker {
namespace {

model::FilterOptions FilterOf(const SamplingChoice& choice,
                              const layout::GenerationDefaults& defaults, int64_t max_new_tokens) {
  model::FilterOptions filter;
  const double temperature = choice.temperature.value_or(defaults.temperature);
  if (temperature != 0) filter.temperature = temperature;
  filter.top_k = choice.top_k.value_or(defaults.top_k);
  filter.top_p = choice.top_p.value_or(defaults.top_p);
  filter.min_p = choice.min_p.value_or(defaults.min_p);
  filter.repetition_penalty = choice.repetition_penalty.value_or(defaults.repetition_penalty);
  filter.min_new_tokens =
      choice.min_new_tokens.value_or(std::min(defaults.min_new_tokens, max_new_tokens));
  return filter;
}

}  // namespace

absl::StatusOr<model::SamplingOptions> ChooseSampling(const SamplingChoice& choice,
                                                      const layout::GenerationDefaults& defaults,
                                                      const LoadedModel& model, int64_t room,
                                                      int64_t usual_new_tokens) {
  const layout::ModelConfig& config = model.model.config();
  model::SamplingOptions sampling;
  sampling.max_new_tokens = choice.max_new_tokens.value_or(
      std::min(room, defaults.max_new_tokens.value_or(usual_new_tokens)));
  if (sampling.max_new_tokens < 1 || sampling.max_new_tokens > room) {
    return absl::InvalidArgumentError(absl::StrCat("max_new_tokens is ", sampling.max_new_tokens,
                                                   "; expected 1 to ", room,
                                                   ", what the prompt leaves of the context"));
  }
  const double temperature = choice.temperature.value_or(defaults.temperature);
  sampling.greedy = temperature == 0;
  if (!sampling.greedy && !model::ValidateScale("temperature", temperature).ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "temperature is ", temperature, "; expected 0 (greedy) or a number from 1e-6 to 1e6"));
  }
  sampling.filter = FilterOf(choice, defaults, sampling.max_new_tokens);
  if (!choice.ignore_eos) {
    sampling.eos_ids = data::StopIdsOf(config, *model.tokenizer);
    // A tokenizer may know more ids than the model.
    std::erase_if(sampling.eos_ids, [&](int64_t id) { return id >= config.vocab_size; });
  }
  sampling.eos_ids.insert(sampling.eos_ids.end(), choice.stop_token_ids.begin(),
                          choice.stop_token_ids.end());
  sampling.mask = model.mask;
  sampling.raw_log_probs = true;
  RETORT_RETURN_IF_ERROR(model::ValidateSampling(sampling, config.vocab_size));
  return sampling;
}

std::vector<CounterRng> StreamsOf(uint64_t seed, int64_t samples) {
  std::vector<CounterRng> streams;
  for (int64_t i = 0; i < samples; ++i) {
    streams.emplace_back(seed, RngPurpose::kSampling, static_cast<uint64_t>(i));
  }
  return streams;
}

absl::Status CheckStopStrings(const std::vector<std::string>& stops, absl::string_view field) {
  if (static_cast<int64_t>(stops.size()) > kMaxStopStrings) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, " has ", stops.size(), " strings; at most ", kMaxStopStrings, " are taken"));
  }
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty() || static_cast<int64_t>(stops[i].size()) > kMaxStopStringBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, "[", i, "] has ", stops[i].size(), " bytes; expected 1 to ", kMaxStopStringBytes));
    }
    if (const std::optional<size_t> invalid = FirstInvalidByte(stops[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, "[", i, "] is not UTF-8 at byte ", *invalid));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTopLogProbs(int64_t top_log_probs, const LoadedModel& model) {
  const int64_t most = std::min(kMaxTopLogProbs, model.mask.size());
  if (top_log_probs >= 0 && top_log_probs <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("top_log_probs is ", top_log_probs, "; expected 0 to ", most));
}

}  // namespace retort::worker
