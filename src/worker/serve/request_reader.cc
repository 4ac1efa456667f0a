#include "worker/serve/request_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/status_macros.h"
#include "common/model/sampling.h"
#include "common/text/assistant_tokens.h"

namespace retort::worker {
namespace {

absl::Status Between(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, "; expected ", min, " to ", max));
}

text::ChatInput InputOf(const v1::Chat& chat, bool add_generation_prompt) {
  return {.messages = chat.messages_json(),
          .tools = chat.tools_json(),
          .add_generation_prompt = add_generation_prompt,
          .variables = {},
          .now = absl::ToCivilSecond(absl::Now(), absl::LocalTimeZone())};
}

absl::Status CheckClient(const std::string& client) {
  if (static_cast<int64_t>(client.size()) <= kMaxClientBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("client has ", client.size(), " bytes; at most ",
                                                 kMaxClientBytes, " are taken"));
}

SamplingChoice ChoiceOf(const v1::SamplingParameters& asked) {
  SamplingChoice choice;
  if (asked.has_max_new_tokens()) choice.max_new_tokens = asked.max_new_tokens();
  if (asked.has_min_new_tokens()) choice.min_new_tokens = asked.min_new_tokens();
  if (asked.has_temperature()) choice.temperature = asked.temperature();
  if (asked.has_top_k()) choice.top_k = asked.top_k();
  if (asked.has_top_p()) choice.top_p = asked.top_p();
  if (asked.has_min_p()) choice.min_p = asked.min_p();
  if (asked.has_repetition_penalty()) choice.repetition_penalty = asked.repetition_penalty();
  choice.ignore_eos = asked.ignore_eos();
  choice.stop_token_ids.assign(asked.stop_token_ids().begin(), asked.stop_token_ids().end());
  return choice;
}

}  // namespace

RequestReader::RequestReader(const LoadedModel& model, const layout::GenerationDefaults& defaults)
    : model_(model), defaults_(defaults), special_tokens_(text::SpecialTokens(*model.tokenizer)) {}

absl::Status RequestReader::CheckIds(const std::vector<int64_t>& ids, const char* field) const {
  if (static_cast<int64_t>(ids.size()) > kMaxRequestTokens) {
    return absl::InvalidArgumentError(absl::StrCat(field, " has ", ids.size(), " tokens; at most ",
                                                   kMaxRequestTokens, " are taken"));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (model_.mask.Contains(ids[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(field, ".ids[", i, "] is ", ids[i],
                                                   ", which the model has no token for; ids are "
                                                   "below ",
                                                   model_.mask.limit));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> RequestReader::ReadTokens(const v1::TokenIds& tokens,
                                                               const char* field) const {
  std::vector<int64_t> ids(tokens.ids().begin(), tokens.ids().end());
  RETORT_RETURN_IF_ERROR(CheckIds(ids, field));
  return ids;
}

absl::StatusOr<std::vector<int64_t>> RequestReader::EncodeText(const std::string& text,
                                                               const char* field,
                                                               bool add_special_tokens) const {
  if (static_cast<int64_t>(text.size()) > kMaxPromptBytes) {
    return absl::InvalidArgumentError(absl::StrCat(field, " has ", text.size(), " bytes; at most ",
                                                   kMaxPromptBytes, " are taken"));
  }
  absl::StatusOr<std::vector<int64_t>> ids = model_.tokenizer->Encode(text, add_special_tokens);
  RETORT_RETURN_IF_ERROR(WithContext(ids.status(), field));
  RETORT_RETURN_IF_ERROR(CheckIds(*ids, field));
  return ids;
}

absl::StatusOr<std::vector<int64_t>> RequestReader::ReadPrompt(const v1::Prompt& prompt) const {
  switch (prompt.kind_case()) {
    case v1::Prompt::kText:
      return EncodeText(prompt.text(), "prompt.text", /*add_special_tokens=*/true);
    case v1::Prompt::kTokens:
      return ReadTokens(prompt.tokens(), "prompt.tokens");
    case v1::Prompt::kChat: {
      RETORT_ASSIGN_OR_RETURN(const text::ChatTemplate* chat, Template());
      absl::StatusOr<text::ChatText> rendered = chat->Render(InputOf(prompt.chat(), true));
      RETORT_RETURN_IF_ERROR(WithContext(rendered.status(), "prompt.chat"));
      // The template writes BOS and the like itself.
      return EncodeText(rendered->text, "prompt.chat", /*add_special_tokens=*/false);
    }
    case v1::Prompt::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("prompt is not set; expected text, tokens or chat");
}

absl::StatusOr<const text::ChatTemplate*> RequestReader::Template() const {
  if (model_.chat_template.ok()) return model_.chat_template->get();
  return absl::InvalidArgumentError(
      absl::StrCat("prompt.chat: ", model_.chat_template.status().message()));
}

// Every message; the assistant's tokens are scored.
absl::StatusOr<ScoreWork> RequestReader::ReadChatScore(const v1::ScoreRequest& request) const {
  if (request.completion_case() != v1::ScoreRequest::COMPLETION_NOT_SET) {
    return absl::InvalidArgumentError(
        "completion is set beside prompt.chat, whose assistant messages are what is scored");
  }
  RETORT_ASSIGN_OR_RETURN(const text::ChatTemplate* chat, Template());
  absl::StatusOr<text::AssistantText> rendered =
      text::RenderAssistant(*chat, InputOf(request.prompt().chat(), false), special_tokens_);
  RETORT_RETURN_IF_ERROR(WithContext(rendered.status(), "prompt.chat"));
  absl::StatusOr<text::AssistantTokens> tokens =
      text::EncodeAssistant(*model_.tokenizer, *rendered);
  RETORT_RETURN_IF_ERROR(WithContext(tokens.status(), "prompt.chat"));
  RETORT_RETURN_IF_ERROR(CheckIds(tokens->ids, "prompt.chat"));
  ScoreWork work;
  work.ids = std::move(tokens->ids);
  work.mask = std::move(tokens->trained);
  return work;
}

absl::StatusOr<ScoreWork> RequestReader::ReadScored(const v1::ScoreRequest& request) const {
  ScoreWork work;
  RETORT_ASSIGN_OR_RETURN(work.ids, ReadPrompt(request.prompt()));
  if (work.ids.empty()) {
    return absl::InvalidArgumentError("prompt is empty; the first token cannot be scored");
  }
  std::vector<int64_t> completion;
  switch (request.completion_case()) {
    case v1::ScoreRequest::kText: {
      RETORT_ASSIGN_OR_RETURN(completion, EncodeText(request.text(), "text", false));
      break;
    }
    case v1::ScoreRequest::kTokens: {
      RETORT_ASSIGN_OR_RETURN(completion, ReadTokens(request.tokens(), "tokens"));
      break;
    }
    case v1::ScoreRequest::COMPLETION_NOT_SET:
      return absl::InvalidArgumentError("completion is not set; expected text or tokens");
  }
  if (completion.empty()) return absl::InvalidArgumentError("the completion has no token");
  work.mask.assign(work.ids.size(), false);
  work.mask.resize(work.ids.size() + completion.size(), true);
  work.ids.insert(work.ids.end(), completion.begin(), completion.end());
  return work;
}

absl::Status RequestReader::ReadSampling(const v1::SamplingParameters& asked,
                                         GenerateWork* work) const {
  if (asked.stop_token_ids_size() > kMaxStopTokenIds) {
    return absl::InvalidArgumentError(absl::StrCat("sampling.stop_token_ids has ",
                                                   asked.stop_token_ids_size(), " ids; at most ",
                                                   kMaxStopTokenIds, " are taken"));
  }
  RETORT_ASSIGN_OR_RETURN(const int64_t room,
                          model_.RoomBehind("prompt", static_cast<int64_t>(work->prompt.size())));
  absl::StatusOr<model::SamplingOptions> sampling =
      ChooseSampling(ChoiceOf(asked), defaults_, model_, room, kUsualNewTokens);
  if (!sampling.ok()) return WithContext(sampling.status(), "sampling");
  work->sampling = *std::move(sampling);
  work->seed = asked.seed();
  work->stops.assign(asked.stop().begin(), asked.stop().end());
  return CheckStopStrings(work->stops, "sampling.stop");
}

absl::StatusOr<GenerateWork> RequestReader::Read(const v1::GenerateRequest& request) const {
  RETORT_RETURN_IF_ERROR(CheckClient(request.client()));
  GenerateWork work;
  RETORT_ASSIGN_OR_RETURN(work.prompt, ReadPrompt(request.prompt()));
  if (work.prompt.empty()) {
    return absl::InvalidArgumentError("prompt is empty; expected at least one token");
  }
  work.chat = request.prompt().has_chat();
  RETORT_RETURN_IF_ERROR(Between("samples", request.samples(), 0, kMaxSamples));
  work.samples = std::max(1, request.samples());
  RETORT_RETURN_IF_ERROR(CheckTopLogProbs(request.top_log_probs(), model_));
  RETORT_RETURN_IF_ERROR(ReadSampling(request.sampling(), &work));
  work.sampling.top_log_probs = request.top_log_probs();
  return work;
}

absl::StatusOr<ScoreWork> RequestReader::Read(const v1::ScoreRequest& request) const {
  RETORT_RETURN_IF_ERROR(CheckClient(request.client()));
  absl::StatusOr<ScoreWork> work =
      request.prompt().has_chat() ? ReadChatScore(request) : ReadScored(request);
  if (!work.ok()) return work;
  const int64_t context = model_.model.config().max_position_embeddings;
  if (static_cast<int64_t>(work->ids.size()) > context) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and completion have ", work->ids.size(),
                                                   " tokens; the model's context is ", context));
  }
  if (std::find(work->mask.begin(), work->mask.end(), true) == work->mask.end()) {
    return absl::InvalidArgumentError("prompt.chat has no assistant message; nothing is scored");
  }
  work->temperature = request.temperature() == 0 ? 1 : request.temperature();
  RETORT_RETURN_IF_ERROR(model::ValidateScale("temperature", work->temperature));
  RETORT_RETURN_IF_ERROR(CheckTopLogProbs(request.top_log_probs(), model_));
  work->top_log_probs = request.top_log_probs();
  return work;
}

}  // namespace retort::worker
