#include "worker/tools/chat_command.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/json.h"
#include "common/base/read_line.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/base/write_output.h"
#include "common/layout/generation_defaults.h"
#include "nlohmann/json.hpp"
#include "worker/tools/completion.h"
#include "worker/tools/loaded_model.h"

namespace retort::worker {
namespace {

constexpr int64_t kUsualAnswerTokens = 1024;
constexpr size_t kMaxLineBytes = 1 << 20;

Json Message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

using Variables = std::vector<std::pair<std::string, std::string>>;

// What was said so far. Not thread-safe.
class Conversation {
 public:
  Conversation(const LoadedModel& model, const text::ChatTemplate& chat_template,
               const layout::GenerationDefaults& defaults, const ChatOptions& options,
               Variables variables, absl::CivilSecond now)
      : model_(model),
        template_(chat_template),
        defaults_(defaults),
        options_(options),
        variables_(std::move(variables)),
        now_(now) {
    Reset();
  }

  void Reset() {
    messages_ = Json::array();
    if (!options_.system.empty()) messages_.push_back(Message("system", options_.system));
    answers_ = 0;
  }

  // Writes the answer to `text` as it is made. After an error the conversation is as before.
  absl::Status Say(const std::string& text, std::ostream& out) {
    const size_t before = messages_.size();
    messages_.push_back(Message("user", text));
    absl::StatusOr<std::string> answer = Answer(out);
    if (!answer.ok()) {
      messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(before), messages_.end());
      return answer.status();
    }
    messages_.push_back(Message("assistant", *answer));
    ++answers_;
    return WriteOutput("\n", out);
  }

 private:
  absl::StatusOr<CompletionRequest> Request() const {
    const text::ChatInput input{.messages = DumpJson(messages_),
                                .tools = "",
                                .add_generation_prompt = true,
                                .variables = variables_,
                                .now = now_};
    RETORT_ASSIGN_OR_RETURN(const text::ChatText prompt, template_.Render(input));
    CompletionRequest request;
    // The template writes BOS and the like itself.
    RETORT_ASSIGN_OR_RETURN(request.prompt, model_.Encode("conversation", prompt.text,
                                                          /*add_special_tokens=*/false));
    RETORT_ASSIGN_OR_RETURN(
        const int64_t room,
        model_.RoomBehind("conversation", static_cast<int64_t>(request.prompt.size())));
    RETORT_ASSIGN_OR_RETURN(request.sampling, ChooseSampling(options_.draw.choice, defaults_,
                                                             model_, room, kUsualAnswerTokens));
    request.stops = options_.draw.stops;
    request.streams.emplace_back(options_.draw.seed, RngPurpose::kSampling, answers_);
    return request;
  }

  absl::StatusOr<std::string> Answer(std::ostream& out) const {
    RETORT_ASSIGN_OR_RETURN(CompletionRequest request, Request());
    request.on_text = [&out](int64_t, absl::string_view text) { return WriteOutput(text, out); };
    RETORT_ASSIGN_OR_RETURN(const std::vector<PromptCompletion> completions,
                            Complete(model_, request));
    return completions[0].text;
  }

  const LoadedModel& model_;
  const text::ChatTemplate& template_;
  const layout::GenerationDefaults& defaults_;
  const ChatOptions& options_;
  const Variables variables_;
  const absl::CivilSecond now_;
  Json messages_;
  uint64_t answers_ = 0;
};

absl::StatusOr<std::string> CheckedText(std::string text, bool replace) {
  if (replace) return LossyUtf8(text);
  const std::optional<size_t> invalid = FirstInvalidByte(text);
  if (!invalid.has_value()) return text;
  return absl::InvalidArgumentError(absl::StrCat("byte ", *invalid, " is not UTF-8"));
}

// OK also after a message that could not be answered, if a person can try again.
absl::Status SayLine(const ChatOptions& options, const std::string& line, int64_t number,
                     Conversation* conversation, std::ostream& out, std::ostream& err) {
  absl::StatusOr<std::string> text =
      CheckedText(std::string(absl::StripSuffix(absl::StripSuffix(line, "\n"), "\r")),
                  options.replace_invalid_utf8);
  const absl::Status status = text.ok() ? conversation->Say(*text, out) : text.status();
  if (!options.interactive) {
    return WithContext(status, absl::StrCat("line ", number, " of standard input"));
  }
  // What is wrong with this message; anything else would meet the next one too.
  if (!absl::IsInvalidArgument(status) && !absl::IsUnimplemented(status) &&
      !absl::IsResourceExhausted(status)) {
    return status;
  }
  return WriteOutput(
      absl::StrCat("retort: ", status.message(), " (/reset forgets the conversation)\n"), err);
}

absl::Status Converse(const ChatOptions& options, Conversation* conversation, std::istream& in,
                      std::ostream& out, std::ostream& err) {
  std::string line;
  for (int64_t number = 1;; ++number) {
    if (options.interactive) RETORT_RETURN_IF_ERROR(WriteOutput("> ", out));
    const absl::StatusOr<bool> more = ReadLine(in, kMaxLineBytes, &line);
    RETORT_RETURN_IF_ERROR(
        WithContext(more.status(), absl::StrCat("line ", number, " of standard input")));
    if (!*more) break;
    const absl::string_view word = absl::StripAsciiWhitespace(line);
    if (word.empty()) continue;
    if (word == "/exit") return absl::OkStatus();
    if (word == "/reset") {
      conversation->Reset();
      continue;
    }
    RETORT_RETURN_IF_ERROR(SayLine(options, line, number, conversation, out, err));
  }
  return options.interactive ? WriteOutput("\n", out) : absl::OkStatus();
}

}  // namespace

absl::Status ChatCommand(const ChatOptions& options, absl::CivilSecond now, std::istream& in,
                         std::ostream& out, std::ostream& err) {
  RETORT_RETURN_IF_ERROR(CheckStopStrings(options.draw.stops, "stop"));
  RETORT_ASSIGN_OR_RETURN(Variables variables,
                          text::ParseTemplateVariables(options.template_variables));
  ChatOptions checked = options;
  absl::StatusOr<std::string> system = CheckedText(options.system, options.replace_invalid_utf8);
  if (!system.ok()) return WithContext(system.status(), "system");
  checked.system = *std::move(system);
  RETORT_ASSIGN_OR_RETURN(const layout::GenerationDefaults defaults,
                          layout::LoadGenerationDefaults(options.model.folder));
  RETORT_ASSIGN_OR_RETURN(const LoadedModel model, LoadModelFolder(options.model));
  RETORT_RETURN_IF_ERROR(model.chat_template.status());
  Conversation conversation(model, **model.chat_template, defaults, checked, std::move(variables),
                            now);
  return Converse(checked, &conversation, in, out, err);
}

}  // namespace retort::worker
