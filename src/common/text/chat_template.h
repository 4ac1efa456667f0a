// Conversations -> the text that a model was trained on: the chat template of a Hugging Face
// folder. Which bytes of that text the assistant wrote is in assistant_ranges.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "common/text/jinja/limits.h"
#include "common/text/jinja/template.h"

namespace retort::text {

using jinja::ByteRange;

struct ChatInput {
  // JSON arrays of objects. As text, because a parsed integer beyond 64 bits is a float; from a
  // Json that has none: DumpJson().
  std::string messages;
  std::string tools;  // Empty or "null": none.
  bool add_generation_prompt = false;
  // More variables of the template, as JSON: {"enable_thinking", "false"}.
  std::vector<std::pair<std::string, std::string>> variables;
  // What strftime_now tells. A job gives the time of its submission, so that a retry renders the
  // same prompt.
  std::optional<absl::CivilSecond> now;
};

// Of ChatInput::variables, each written NAME=JSON: enable_thinking=false. INVALID_ARGUMENT naming
// the one that is not.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParseTemplateVariables(
    const std::vector<std::string>& words);

inline constexpr char kTemplateVariableHelp[] =
    "A variable for the chat template, such as enable_thinking=false; repeatable";

struct ChatText {
  std::string text;
  std::vector<ByteRange> generation;  // The {% generation %} blocks of the template, in order.
};

// The files of a folder that concern the template; nullopt for a file that is not there.
struct ChatTemplateFiles {
  std::optional<std::string> chat_template_jinja;
  std::optional<std::string> tool_use_jinja;  // additional_chat_templates/tool_use.jinja
  std::optional<std::string> tokenizer_config;
  std::optional<std::string> special_tokens_map;
};

// Immutable, so every method is safe from any thread.
class ChatTemplate {
 public:
  // folder/chat_template.jinja if it is there, with additional_chat_templates/tool_use.jinja for
  // conversations with tools if that is there; else `chat_template` of tokenizer_config.json: a
  // string, or a list of {name, template} of which `tool_use` serves conversations with tools and
  // `default` all others. The special tokens come from tokenizer_config.json, those that it does
  // not name from special_tokens_map.json (strings or objects with `content`).
  // Errors name the file: NOT_FOUND with "chat_template" in it when the folder has none;
  // INVALID_ARGUMENT, UNIMPLEMENTED and RESOURCE_EXHAUSTED as of jinja::Template::Parse.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Load(const std::string& folder);

  // The same from the files' text; `source` stands for the folder in errors.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Parse(
      const ChatTemplateFiles& files, absl::string_view source, const jinja::Limits& limits = {});

  // The template sees `messages` (a message's reasoning under the names of
  // jinja::Variable::alias_reasoning), `tools` (none if there are none), `documents` (none),
  // `add_generation_prompt`, the special tokens that the folder names (bos_token, eos_token,
  // unk_token, sep_token, pad_token, cls_token, mask_token) and input.variables. Errors:
  // INVALID_ARGUMENT when messages or tools are not arrays of objects, a variable has the name of
  // another, or the template refuses its input (its own message is in it); else as of
  // jinja::Template::Render.
  absl::StatusOr<ChatText> Render(const ChatInput& input) const;

  // The first `messages` messages only, of an input that Render accepts: it is not checked again.
  absl::StatusOr<ChatText> RenderFirst(const ChatInput& input, size_t messages,
                                       bool add_generation_prompt) const;

 private:
  ChatTemplate() = default;

  std::unique_ptr<const jinja::Template> default_;
  std::unique_ptr<const jinja::Template> tool_use_;  // May be null.
  std::vector<jinja::Variable> special_tokens_;
};

}  // namespace retort::text
