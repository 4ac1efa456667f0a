#include "worker/serve/served_generation.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/json.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::worker {
namespace {

v1::FinishReason ReasonOf(model::FinishReason reason) {
  switch (reason) {
    case model::FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case model::FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case model::FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case model::FinishReason::kNone:
    case model::FinishReason::kFailed:
      break;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

std::string AssistantMessage(const std::string& text) {
  const Json message = {{"role", "assistant"}, {"content", text}};
  return DumpJson(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServedGeneration>> ServedGeneration::Make(
    const text::Tokenizer& tokenizer, GenerateWork work) {
  std::unique_ptr<ServedGeneration> served(new ServedGeneration(std::move(work)));
  for (int64_t i = 0; i < served->samples(); ++i) {
    RETORT_ASSIGN_OR_RETURN(std::unique_ptr<AnswerText> text,
                            AnswerText::Make(tokenizer, served->work_.prompt, served->work_.stops));
    served->texts_.push_back(std::move(text));
  }
  return served;
}

model::EngineRequest ServedGeneration::ForEngine() {
  model::EngineRequest request;
  request.prompt = work_.prompt;
  request.sampling = work_.sampling;
  request.streams = StreamsOf(work_.seed, work_.samples);
  request.stop = [this](int64_t sample, absl::Span<const int64_t> ids) {
    AnswerText& text = *texts_[sample];
    // Ids without a token are excluded from sampling.
    RETORT_CHECK(text.Push(ids.back()).ok());
    return text.stopped();
  };
  return request;
}

v1::GenerateEvent ServedGeneration::Started() const {
  v1::GenerateEvent event;
  event.mutable_started()->mutable_prompt_ids()->Add(work_.prompt.begin(), work_.prompt.end());
  return event;
}

std::vector<v1::GenerateEvent> ServedGeneration::OnToken(const model::TokenEvent& event,
                                                         const model::GeneratedSample& sample) {
  AnswerText& text = *texts_[event.sample];
  std::vector<v1::GenerateEvent> events;
  if (event.reason == model::FinishReason::kNone) {
    events.push_back(TokensEvent(event, sample, &text));
    return events;
  }
  // The engine asks for stop strings after every token but an EOS.
  if (event.reason == model::FinishReason::kEos) RETORT_CHECK(text.Push(event.id).ok());
  text.Finish();
  --unfinished_;
  events.push_back(TokensEvent(event, sample, &text));
  events.push_back(FinishedEvent(event, sample, text));
  return events;
}

v1::GenerateEvent ServedGeneration::TokensEvent(const model::TokenEvent& event,
                                                const model::GeneratedSample& sample,
                                                AnswerText* text) const {
  v1::GenerateEvent out;
  v1::Tokens* tokens = out.mutable_tokens();
  tokens->set_sample(static_cast<int32_t>(event.sample));
  tokens->add_ids(event.id);
  tokens->add_log_probs(sample.log_probs.back());
  tokens->add_raw_log_probs(sample.raw_log_probs.back());
  const int64_t top = work_.sampling.top_log_probs;
  if (top > 0) {
    v1::TopLogProbs* list = tokens->add_top();
    for (size_t i = sample.top_ids.size() - top; i < sample.top_ids.size(); ++i) {
      v1::TokenLogProb* entry = list->add_top();
      entry->set_id(sample.top_ids[i]);
      entry->set_log_prob(sample.top_log_probs[i]);
    }
  }
  tokens->set_text(text->TakeNew());
  return out;
}

v1::GenerateEvent ServedGeneration::FinishedEvent(const model::TokenEvent& event,
                                                  const model::GeneratedSample& sample,
                                                  const AnswerText& text) const {
  v1::GenerateEvent out;
  v1::Finished* finished = out.mutable_finished();
  finished->set_sample(static_cast<int32_t>(event.sample));
  finished->set_reason(ReasonOf(event.reason));
  finished->set_text(text.text());
  if (work_.chat) finished->set_message_json(AssistantMessage(text.text()));
  finished->set_generated_tokens(static_cast<int64_t>(sample.ids.size()));
  return out;
}

}  // namespace retort::worker
