#include "worker/tools/completion.h"

#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/generate.h"
#include "worker/tools/answer_text.h"

namespace retort::worker {
namespace {

using Texts = std::vector<std::unique_ptr<AnswerText>>;

absl::StatusOr<Texts> TextsFor(const LoadedModel& model, const CompletionRequest& request) {
  Texts texts;
  for (size_t i = 0; i < request.streams.size(); ++i) {
    RETORT_ASSIGN_OR_RETURN(std::unique_ptr<AnswerText> text,
                            AnswerText::Make(*model.tokenizer, request.prompt, request.stops));
    texts.push_back(std::move(text));
  }
  return texts;
}

absl::Status Show(const CompletionRequest& request, int64_t sample, AnswerText* text) {
  if (request.on_text == nullptr) return absl::OkStatus();
  const std::string fresh = text->TakeNew();
  return fresh.empty() ? absl::OkStatus() : request.on_text(sample, fresh);
}

absl::StatusOr<std::vector<model::GeneratedSample>> Run(const LoadedModel& model,
                                                        const CompletionRequest& request,
                                                        const Texts& texts) {
  std::vector<model::SampleRequest> samples;
  for (const CounterRng& stream : request.streams) samples.push_back({0, stream});
  // Asked after every token but an EOS, before it is told. Ids without a token are never sampled.
  const model::StopCheck stop = [&](int64_t sample, absl::Span<const int64_t> ids) {
    RETORT_CHECK(texts[sample]->Push(ids.back()).ok()) << "token " << ids.back();
    return texts[sample]->stopped();
  };
  absl::Status shown;
  const model::TokenCallback on_token = [&](int64_t sample, int64_t) {
    shown = Show(request, sample, texts[sample].get());
    return shown.ok();
  };
  auto made =
      model::Generate(model.model, {request.prompt}, samples, request.sampling, {}, on_token, stop);
  RETORT_RETURN_IF_ERROR(shown);
  return made;
}

}  // namespace

absl::StatusOr<std::vector<PromptCompletion>> Complete(const LoadedModel& model,
                                                       const CompletionRequest& request) {
  RETORT_ASSIGN_OR_RETURN(const Texts texts, TextsFor(model, request));
  RETORT_ASSIGN_OR_RETURN(std::vector<model::GeneratedSample> samples, Run(model, request, texts));
  std::vector<PromptCompletion> completions;
  for (size_t i = 0; i < samples.size(); ++i) {
    AnswerText& text = *texts[i];
    if (samples[i].reason == model::FinishReason::kEos) {
      RETORT_RETURN_IF_ERROR(text.Push(samples[i].ids.back()));
    }
    text.Finish();
    RETORT_RETURN_IF_ERROR(Show(request, static_cast<int64_t>(i), &text));
    completions.push_back({std::move(samples[i]), text.text()});
  }
  return completions;
}

const char* FinishReasonName(model::FinishReason reason) {
  switch (reason) {
    case model::FinishReason::kEos:
      return "eos";
    case model::FinishReason::kLength:
      return "length";
    case model::FinishReason::kStop:
      return "stop";
    case model::FinishReason::kNone:
    case model::FinishReason::kFailed:
      break;
  }
  RETORT_CHECK(false) << "a completion that did not end";
}

}  // namespace retort::worker
