#include "common/data/row_encoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/text/assistant_tokens.h"

namespace retort::data {
namespace {

// `trained` ends with the last token that is.
absl::StatusOr<EncodedExample> ExampleOf(std::vector<int64_t> ids, std::vector<bool> trained) {
  const auto first = std::find(trained.begin(), trained.end(), true);
  if (first == trained.end()) {
    return absl::InvalidArgumentError(
        "the conversation has no token of the assistant to train on; expected a message with "
        "\"role\": \"assistant\"");
  }
  EncodedExample example;
  example.prompt_length = first - trained.begin();
  const auto end = std::find(trained.rbegin(), trained.rend(), true).base();
  ids.resize(end - trained.begin());
  trained.resize(ids.size());
  example.ids = std::move(ids);
  example.trained = std::move(trained);
  return example;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const RowEncoder>> RowEncoder::Make(
    const std::string& folder, std::shared_ptr<const text::Tokenizer> tokenizer,
    const layout::ModelConfig& config, const v1::DataSpec& spec) {
  return Make(text::ChatTemplate::Load(folder), std::move(tokenizer), config, spec);
}

absl::StatusOr<std::shared_ptr<const RowEncoder>> RowEncoder::Make(
    absl::StatusOr<std::shared_ptr<const text::ChatTemplate>> chat_template,
    std::shared_ptr<const text::Tokenizer> tokenizer, const layout::ModelConfig& config,
    const v1::DataSpec& spec) {
  auto encoder = std::shared_ptr<RowEncoder>(new RowEncoder);
  encoder->tokenizer_ = std::move(tokenizer);
  encoder->chat_template_ = std::move(chat_template);
  if (encoder->chat_template_.ok()) {
    encoder->special_tokens_ = text::SpecialTokens(*encoder->tokenizer_);
  }
  encoder->last_turn_only_ = spec.last_turn_only();
  if (spec.has_template_time()) {
    absl::CivilSecond now;
    if (!absl::ParseCivilTime(spec.template_time(), &now)) {
      return absl::InvalidArgumentError(
          absl::StrCat("data.template_time is \"", Printable(spec.template_time()),
                       "\"; expected a time such as 2026-03-01T09:30:00"));
    }
    encoder->now_ = now;
  }
  if (spec.add_bos()) {
    encoder->bos_ = encoder->tokenizer_->bos_id();
    if (!encoder->bos_.has_value()) encoder->bos_ = config.bos_token_id;
    if (!encoder->bos_.has_value()) {
      return absl::InvalidArgumentError(
          "data.add_bos is true, but neither tokenizer nor model names a BOS token");
    }
  }
  return encoder;
}

absl::StatusOr<const text::ChatTemplate*> RowEncoder::Template() const {
  if (chat_template_.ok()) return chat_template_->get();
  return absl::InvalidArgumentError(absl::StrCat(
      "the row is a conversation, but ", chat_template_.status().message(),
      "; give the policy's folder a chat template, or write {\"prompt\", \"response\"}"));
}

text::ChatInput RowEncoder::InputOf(const Row& row) const {
  text::ChatInput input;
  input.messages = row.messages;
  input.tools = row.tools;
  input.now = now_;
  return input;
}

absl::StatusOr<std::vector<int64_t>> RowEncoder::EncodePlain(const Row& row) const {
  RETORT_ASSIGN_OR_RETURN(std::vector<int64_t> ids,
                          tokenizer_->Encode(row.prompt, /*add_special_tokens=*/false));
  if (bos_.has_value()) ids.insert(ids.begin(), *bos_);
  if (!ids.empty()) return ids;
  return absl::InvalidArgumentError("the prompt has no tokens; set data.add_bos or remove the row");
}

absl::StatusOr<EncodedPrompt> RowEncoder::Prompt(const Row& row) const {
  EncodedPrompt prompt;
  if (!row.is_chat()) {
    prompt.text = row.prompt;
    RETORT_ASSIGN_OR_RETURN(prompt.ids, EncodePlain(row));
    return prompt;
  }
  RETORT_ASSIGN_OR_RETURN(const text::ChatTemplate* chat, Template());
  if (row.prompt_messages == 0) {
    return absl::InvalidArgumentError(
        "the conversation begins with the assistant's answer; expected a message that asks");
  }
  // The dataset has checked what Render would: these are arrays of objects.
  RETORT_ASSIGN_OR_RETURN(
      text::ChatText rendered,
      chat->RenderFirst(InputOf(row), row.prompt_messages, /*add_generation_prompt=*/true));
  prompt.text = std::move(rendered.text);
  RETORT_ASSIGN_OR_RETURN(prompt.ids,
                          tokenizer_->Encode(prompt.text, /*add_special_tokens=*/false));
  if (!prompt.ids.empty()) return prompt;
  return absl::InvalidArgumentError("the chat template makes a prompt without tokens");
}

absl::StatusOr<EncodedExample> RowEncoder::Example(const Row& row,
                                                   const absl::StatusOr<int64_t>& eos) const {
  if (row.is_chat()) return ChatExample(row);
  if (!row.has_response) {
    return absl::InvalidArgumentError("the row has no \"response\" or \"answer\" to learn");
  }
  RETORT_RETURN_IF_ERROR(eos.status());
  RETORT_ASSIGN_OR_RETURN(std::vector<int64_t> ids, EncodePlain(row));
  RETORT_ASSIGN_OR_RETURN(const std::vector<int64_t> response,
                          tokenizer_->Encode(row.response, /*add_special_tokens=*/false));
  std::vector<bool> trained(ids.size(), false);
  ids.insert(ids.end(), response.begin(), response.end());
  ids.push_back(*eos);
  trained.resize(ids.size(), true);
  return ExampleOf(std::move(ids), std::move(trained));
}

absl::StatusOr<EncodedExample> RowEncoder::ChatExample(const Row& row) const {
  RETORT_ASSIGN_OR_RETURN(const text::ChatTemplate* chat, Template());
  RETORT_ASSIGN_OR_RETURN(const text::AssistantText conversation,
                          text::RenderAssistant(*chat, InputOf(row), special_tokens_,
                                                {.last_turn_only = last_turn_only_}));
  RETORT_ASSIGN_OR_RETURN(text::AssistantTokens tokens,
                          text::EncodeAssistant(*tokenizer_, conversation));
  return ExampleOf(std::move(tokens.ids), std::move(tokens.trained));
}

}  // namespace retort::data
