#include "common/model/generate.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/engine.h"

namespace retort::model {
namespace {

using Prompts = absl::Span<const std::vector<int64_t>>;
using Samples = absl::Span<const SampleRequest>;

// The samples of one prompt that follow each other: samples [first, first + count).
struct Run {
  int64_t first = 0;
  int64_t count = 0;
};

std::vector<Run> RunsOf(Samples samples) {
  std::vector<Run> runs;
  for (size_t i = 0; i < samples.size(); ++i) {
    const bool goes_on = i > 0 && samples[i].prompt == samples[i - 1].prompt;
    if (!goes_on) runs.push_back({static_cast<int64_t>(i), 0});
    ++runs.back().count;
  }
  return runs;
}

// Room for max_batch samples of the longest kind, each of a prompt of its own.
EngineOptions EngineOptionsFor(const BatchOptions& batch, Prompts prompts, Samples samples,
                               const SamplingOptions& options) {
  int64_t most = 1;
  for (const SampleRequest& sample : samples) {
    const int64_t length = static_cast<int64_t>(prompts[sample.prompt].size());
    most = std::max(most, Engine::BlocksOfOne(length, options.max_new_tokens));
  }
  const int64_t lanes = std::min<int64_t>(batch.max_batch, static_cast<int64_t>(samples.size()));
  return {.max_batch = batch.max_batch,
          .max_prefill_tokens = batch.max_prefill_tokens,
          .kv_blocks = std::max<int64_t>(1, lanes * most)};
}

absl::Status CheckSamples(Prompts prompts, Samples samples) {
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].prompt >= 0 && samples[i].prompt < static_cast<int64_t>(prompts.size())) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("sample ", i, " names prompt ", samples[i].prompt, " of ", prompts.size()));
  }
  return absl::OkStatus();
}

// Steps until nothing is left, telling `on_token`.
absl::Status RunToTheEnd(Engine* engine, const std::unordered_map<RequestId, Run>& runs,
                         const TokenCallback& on_token) {
  while (!engine->idle()) {
    RETORT_ASSIGN_OR_RETURN(const std::vector<TokenEvent> events, engine->Step());
    for (const TokenEvent& event : events) {
      if (event.reason == FinishReason::kFailed) {
        return engine->TakeResults(event.request).status();
      }
      const int64_t sample = runs.at(event.request).first + event.sample;
      if (on_token != nullptr && !on_token(sample, event.id)) {
        return absl::CancelledError("generation was cancelled by its caller");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<GeneratedSample>> Generate(
    const Model& model, absl::Span<const std::vector<int64_t>> prompts,
    absl::Span<const SampleRequest> samples, const SamplingOptions& options,
    const BatchOptions& batch, const TokenCallback& on_token, const StopCheck& stop) {
  RETORT_RETURN_IF_ERROR(CheckSamples(prompts, samples));
  // Before memory is sized by them.
  RETORT_RETURN_IF_ERROR(ValidateSampling(options, model.config().vocab_size));
  if (options.max_new_tokens > model.config().max_position_embeddings) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", options.max_new_tokens, "; expected at most ",
        model.config().max_position_embeddings, ", the model's max_position_embeddings"));
  }
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                          Engine::Make(model, EngineOptionsFor(batch, prompts, samples, options)));
  std::unordered_map<RequestId, Run> runs;
  std::vector<RequestId> order;
  for (const Run& run : RunsOf(samples)) {
    const int64_t prompt = samples[run.first].prompt;
    EngineRequest request{
        .prompt = prompts[prompt], .sampling = options, .streams = {}, .stop = {}};
    for (int64_t i = run.first; i < run.first + run.count; ++i) {
      request.streams.push_back(samples[i].rng);
    }
    if (stop != nullptr) {
      request.stop = [&stop, run](int64_t sample, absl::Span<const int64_t> ids) {
        return stop(run.first + sample, ids);
      };
    }
    absl::StatusOr<RequestId> id = engine->Add(std::move(request));
    if (!id.ok()) return WithContext(id.status(), absl::StrCat("prompt ", prompt));
    runs.emplace(*id, run);
    order.push_back(*id);
  }
  RETORT_RETURN_IF_ERROR(RunToTheEnd(engine.get(), runs, on_token));
  std::vector<GeneratedSample> results;
  for (const RequestId id : order) {
    RETORT_ASSIGN_OR_RETURN(std::vector<GeneratedSample> some, engine->TakeResults(id));
    std::move(some.begin(), some.end(), std::back_inserter(results));
  }
  return results;
}

}  // namespace retort::model
