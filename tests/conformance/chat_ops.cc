// text.chat_template: README-text-model.md §2.
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/text/chat_template.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

absl::StatusOr<Json> RenderChat(LineCall& call) {
  const std::string folder = call.DataPath("tokenizer");
  text::ChatInput input;
  input.messages = DumpJson(call.LineJson("messages"));
  input.tools = DumpJson(call.LineJson("tools"));
  input.add_generation_prompt = call.LineBool("add_generation_prompt", false);
  const Json thinking = call.LineJson("enable_thinking");
  if (!thinking.is_null()) input.variables.emplace_back("enable_thinking", DumpJson(thinking));
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const auto chat_template, text::ChatTemplate::Load(folder));
  RETORT_ASSIGN_OR_RETURN(const text::ChatText chat, chat_template->Render(input));
  return Json{{"text", chat.text}};
}

}  // namespace

void RegisterChatOps(OpRegistry* registry) {
  (*registry)["text.chat_template"] = {
      {}, RenderChat, {"messages", "add_generation_prompt", "tools", "enable_thinking"}};
}

}  // namespace retort::conformance
