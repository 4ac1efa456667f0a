#include "worker/tools/generate_command.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/base/text_argument.h"
#include "common/base/write_output.h"
#include "common/layout/generation_defaults.h"
#include "nlohmann/json.hpp"
#include "worker/tools/completion.h"
#include "worker/tools/loaded_model.h"
#include "worker/tools/token_json.h"

namespace retort::worker {
namespace {

absl::StatusOr<CompletionRequest> RequestOf(const GenerateOptions& options,
                                            const std::string& prompt, const LoadedModel& model) {
  RETORT_ASSIGN_OR_RETURN(const layout::GenerationDefaults defaults,
                          layout::LoadGenerationDefaults(options.model.folder));
  CompletionRequest request;
  RETORT_ASSIGN_OR_RETURN(request.prompt,
                          model.Encode("prompt", prompt, options.text.special_tokens));
  RETORT_ASSIGN_OR_RETURN(const int64_t room,
                          model.RoomBehind("prompt", static_cast<int64_t>(request.prompt.size())));
  RETORT_ASSIGN_OR_RETURN(request.sampling, ChooseSampling(options.draw.choice, defaults, model,
                                                           room, kUsualNewTokens));
  RETORT_RETURN_IF_ERROR(CheckTopLogProbs(options.top_log_probs, model));
  request.sampling.top_log_probs = options.top_log_probs;
  request.stops = options.draw.stops;
  request.streams = StreamsOf(options.draw.seed, options.samples);
  return request;
}

Json SampleJson(const LoadedModel& model, const PromptCompletion& completion, int64_t top) {
  const model::GeneratedSample& sample = completion.sample;
  Json json = {{"ids", sample.ids},
               {"tokens", TokensJson(*model.tokenizer, sample.ids)},
               {"log_probs", FloatsJson(sample.log_probs)},
               {"raw_log_probs", FloatsJson(sample.raw_log_probs)}};
  if (top > 0) json["top"] = TopJson(*model.tokenizer, sample.top_ids, sample.top_log_probs, top);
  json["text"] = completion.text;
  json["finish_reason"] = FinishReasonName(sample.reason);
  return json;
}

std::string AnswerJson(const LoadedModel& model, const CompletionRequest& request,
                       const std::vector<PromptCompletion>& completions) {
  Json samples = Json::array();
  for (const PromptCompletion& completion : completions) {
    samples.push_back(SampleJson(model, completion, request.sampling.top_log_probs));
  }
  const Json answer = {{"prompt_ids", request.prompt}, {"samples", std::move(samples)}};
  return absl::StrCat(DumpJson(answer), "\n");
}

}  // namespace

absl::Status GenerateCommand(const GenerateOptions& options, std::ostream& out) {
  RETORT_RETURN_IF_ERROR(CheckStopStrings(options.draw.stops, "stop"));
  if (options.top_log_probs > 0 && !options.json) {
    return absl::InvalidArgumentError(
        "--top-log-probs is for --json: without it only the text is printed");
  }
  RETORT_ASSIGN_OR_RETURN(const std::string prompt,
                          TextArgument(options.prompt, options.text.replace_invalid_utf8));
  RETORT_ASSIGN_OR_RETURN(const LoadedModel model, LoadModelFolder(options.model));
  RETORT_ASSIGN_OR_RETURN(CompletionRequest request, RequestOf(options, prompt, model));
  const bool stream = !options.json && options.samples == 1;
  if (stream)
    request.on_text = [&out](int64_t, absl::string_view text) { return WriteOutput(text, out); };
  RETORT_ASSIGN_OR_RETURN(const std::vector<PromptCompletion> completions,
                          Complete(model, request));
  if (stream) return WriteOutput("\n", out);
  if (options.json) return WriteOutput(AnswerJson(model, request, completions), out);
  for (const PromptCompletion& completion : completions) {
    RETORT_RETURN_IF_ERROR(WriteOutput(absl::StrCat(completion.text, "\n"), out));
  }
  return absl::OkStatus();
}

}  // namespace retort::worker
