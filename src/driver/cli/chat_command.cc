#include "driver/cli/chat_command.h"

#include <memory>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/text_argument.h"
#include "common/base/write_output.h"
#include "common/text/chat_template.h"

namespace retort::driver {
namespace {

constexpr int64_t kMaxInputBytes = 64 << 20;

absl::StatusOr<std::string> ReadInput(const std::string& path) {
  return path == "-" ? ReadStandardInput(kMaxInputBytes) : ReadFile(path, kMaxInputBytes);
}

}  // namespace

absl::Status RenderChatCommand(const RenderChatOptions& options, absl::CivilSecond now,
                               std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const std::unique_ptr<const text::ChatTemplate> chat_template,
                          text::ChatTemplate::Load(options.model));
  text::ChatInput input;
  input.add_generation_prompt = options.add_generation_prompt;
  input.now = now;
  RETORT_ASSIGN_OR_RETURN(input.variables,
                          text::ParseTemplateVariables(options.template_variables));
  RETORT_ASSIGN_OR_RETURN(input.messages, ReadInput(options.messages));
  if (!options.tools.empty()) {
    RETORT_ASSIGN_OR_RETURN(input.tools, ReadInput(options.tools));
  }
  RETORT_ASSIGN_OR_RETURN(const text::ChatText prompt, chat_template->Render(input));
  return WriteOutput(prompt.text, out);
}

}  // namespace retort::driver
