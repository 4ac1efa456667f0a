#include "common/text/assistant_ranges.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/python_text.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

// Finds special tokens; some tokenizers have thousands, so they are kept by their first byte.
class SpecialFinder {
 public:
  explicit SpecialFinder(absl::Span<const std::string> special_tokens) {
    for (const std::string& token : special_tokens) {
      if (!token.empty()) by_first_[static_cast<unsigned char>(token[0])].push_back(token);
    }
  }

  // Those in `text`, from left to right, the longest where several begin.
  std::vector<ByteRange> FindIn(absl::string_view text) const {
    std::vector<ByteRange> found;
    for (size_t at = 0; at < text.size();) {
      size_t longest = 0;
      for (const absl::string_view token : by_first_[static_cast<unsigned char>(text[at])]) {
        if (token.size() > longest && absl::StartsWith(text.substr(at), token)) {
          longest = token.size();
        }
      }
      if (longest > 0) found.push_back({at, at + longest});
      at += std::max<size_t>(longest, 1);
    }
    return found;
  }

 private:
  std::array<std::vector<absl::string_view>, 256> by_first_;  // Views into the caller's tokens.
};

bool CutsSpecial(size_t at, absl::Span<const ByteRange> special) {
  return std::any_of(special.begin(), special.end(),
                     [at](const ByteRange& token) { return token.begin < at && at < token.end; });
}

// Behind the last occurrence of `content` in `turn` that does not begin or end inside of a special
// token: "im" is not found in <|im_end|>.
std::optional<size_t> EndOf(absl::string_view content, absl::string_view turn,
                            absl::Span<const ByteRange> special) {
  if (content.empty()) return std::nullopt;
  for (size_t at = turn.rfind(content); at != turn.npos; at = turn.rfind(content, at - 1)) {
    if (!CutsSpecial(at, special) && !CutsSpecial(at + content.size(), special)) {
      return at + content.size();
    }
    if (at == 0) break;
  }
  return std::nullopt;
}

// The text of a message: its content, or the last text part of a content in parts.
std::string ContentText(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end()) return "";
  if (content->is_string()) return content->get<std::string>();
  std::string text;
  if (!content->is_array()) return text;
  for (const Json& part : *content) {
    if (part.is_object() && part.contains("text") && part["text"].is_string()) {
      text = part["text"].get<std::string>();
    }
  }
  return text;
}

// Where what is trained ends in `turn`, the text that begins behind the generation prompt.
size_t EndOfTurn(absl::string_view turn, const Json& message, const SpecialFinder& finder) {
  const std::vector<ByteRange> special = finder.FindIn(turn);
  if (special.empty()) return turn.size();
  const auto calls = message.find("tool_calls");
  const bool has_calls = calls != message.end() && calls->is_array() && !calls->empty();
  std::optional<size_t> end;
  if (!has_calls) {
    const std::string content = ContentText(message);
    end = EndOf(content, turn, special);
    if (!end.has_value()) {
      end = EndOf(jinja::StripLeft(jinja::StripRight(content)), turn, special);
    }
  }
  if (!end.has_value()) return special.back().end;
  const auto next = std::find_if(special.begin(), special.end(),
                                 [&](const ByteRange& token) { return token.begin >= *end; });
  return next == special.end() ? turn.size() : next->end;
}

absl::Status NotAPrefix(size_t message, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(
      "messages[", message, "]: the conversation ", what, " it is not how the whole text begins: ",
      "the template renders a message in another way once more follow; train on the last turn only "
      "(last_turn_only)"));
}

absl::StatusOr<ByteRange> AssistantRange(const ChatTemplate& chat_template, const ChatInput& input,
                                         const SpecialFinder& finder, const Json& messages,
                                         size_t index, absl::string_view text) {
  const std::string where = absl::StrCat("messages[", index, "]");
  const auto before = chat_template.RenderFirst(input, index, /*add_generation_prompt=*/true);
  if (!before.ok()) return WithContext(before.status(), where + ": the prompt in front of it");
  if (!absl::StartsWith(text, before->text)) return NotAPrefix(index, "in front of");
  const auto with = chat_template.RenderFirst(input, index + 1, /*add_generation_prompt=*/false);
  if (!with.ok()) return WithContext(with.status(), where + ": the conversation up to it");
  const size_t begin = before->text.size();
  if (!absl::StartsWith(text, with->text) || with->text.size() < begin) {
    return NotAPrefix(index, "up to and with");
  }
  const absl::string_view turn = absl::string_view(with->text).substr(begin);
  return ByteRange{begin, begin + EndOfTurn(turn, messages[index], finder)};
}

bool IsAssistant(const Json& message) {
  const auto role = message.find("role");
  return role != message.end() && role->is_string() && role->get<std::string>() == "assistant";
}

}  // namespace

absl::StatusOr<AssistantText> RenderAssistant(const ChatTemplate& chat_template,
                                              const ChatInput& input,
                                              absl::Span<const std::string> special_tokens,
                                              const AssistantOptions& options) {
  AssistantText result;
  RETORT_ASSIGN_OR_RETURN(result.chat, chat_template.Render(input));
  RETORT_ASSIGN_OR_RETURN(const Json messages, ParseJson(input.messages, "messages"));
  const int64_t turns = std::count_if(messages.begin(), messages.end(), IsAssistant);
  if (turns > kMaxAssistantMessages && !options.last_turn_only) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the conversation has ", turns, " messages of the assistant; at most ",
        kMaxAssistantMessages, " can be told apart: cut it, or train on the last turn ",
        "only (last_turn_only)"));
  }
  const SpecialFinder finder(special_tokens);
  for (size_t i = messages.size(); i-- > 0;) {
    if (!IsAssistant(messages[i])) continue;
    RETORT_ASSIGN_OR_RETURN(const ByteRange range, AssistantRange(chat_template, input, finder,
                                                                  messages, i, result.chat.text));
    result.assistant.push_back(range);
    if (options.last_turn_only) break;
  }
  std::reverse(result.assistant.begin(), result.assistant.end());
  return result;
}

std::vector<bool> TouchingSpans(absl::Span<const ByteRange> spans,
                                absl::Span<const ByteRange> ranges) {
  std::vector<bool> touching;
  touching.reserve(spans.size());
  size_t next = 0;  // The first range that does not end in front of the span.
  for (const ByteRange& span : spans) {
    while (next < ranges.size() && ranges[next].end <= span.begin) ++next;
    touching.push_back(span.begin < span.end && next < ranges.size() &&
                       ranges[next].begin < span.end);
  }
  return touching;
}

}  // namespace retort::text
