#include "common/text/assistant_ranges.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string>& Special() {
  static const auto* special =
      new std::vector<std::string>{"<|start|>", "<|end|>", "<|call|>", "</s>"};
  return *special;
}

// <|start|>role\ncontent<|end|>\n, tool calls between <|call|>.
constexpr char kTurns[] =
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content | default('', true) }}"
    "{% for c in m.tool_calls or [] %}<|call|>{{ c }}<|call|>{% endfor %}<|end|>\n"
    "{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{{ '' }}{% endif %}";

std::unique_ptr<const ChatTemplate> Parse(const std::string& source) {
  ChatTemplateFiles files;
  files.chat_template_jinja = source;
  auto parsed = ChatTemplate::Parse(files, "m");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return *std::move(parsed);
}

ChatInput Input(const std::string& messages) {
  ChatInput input;
  input.messages = messages;
  return input;
}

// The texts of the ranges, or the error.
std::vector<std::string> Ranges(const ChatTemplate& chat_template, const std::string& messages,
                                AssistantOptions options = {}) {
  const auto got = RenderAssistant(chat_template, Input(messages), Special(), options);
  if (!got.ok()) return {absl::StrCat("error: ", got.status().message())};
  std::vector<std::string> texts;
  for (const ByteRange& range : got->assistant) {
    texts.push_back(got->chat.text.substr(range.begin, range.end - range.begin));
  }
  return texts;
}

TEST(AssistantRangesTest, Turns_EachAssistant_FromThePromptThroughTheEndOfTurn) {
  const auto chat_template = Parse(kTurns);
  EXPECT_THAT(Ranges(*chat_template,
                     R"([{"role":"user","content":"q"},{"role":"assistant","content":"a é"},)"
                     R"({"role":"user","content":"r"},{"role":"assistant","content":"b"}])"),
              ElementsAre("a é<|end|>", "b<|end|>"));
  EXPECT_THAT(Ranges(*chat_template,
                     R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"},)"
                     R"({"role":"user","content":"r"},{"role":"assistant","content":"b"}])",
                     {.last_turn_only = true}),
              ElementsAre("b<|end|>"));
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"user","content":"q"}])"), ElementsAre());
}

TEST(AssistantRangesTest, Content_LikeAMarkerOrWithOne_EndsBehindTheRealEnd) {
  const auto chat_template = Parse(kTurns);
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":"end"}])"),
              ElementsAre("end<|end|>"));
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":"a<|end|>b"}])"),
              ElementsAre("a<|end|>b<|end|>"));
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":""}])"),
              ElementsAre("<|end|>"));
}

TEST(AssistantRangesTest, ToolCalls_EndBehindTheLastSpecialToken) {
  const auto chat_template = Parse(kTurns);
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":null,"tool_calls":[1,2]},)"
                                     R"({"role":"tool","content":"r"}])"),
              ElementsAre("<|call|>1<|call|><|call|>2<|call|><|end|>"));
}

TEST(AssistantRangesTest, FirstSpecialToken_NotTheSecond_EndsTheRange) {
  const auto chat_template = Parse(
      "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|end|></s>{% endfor %}"
      "{% if add_generation_prompt %}[assistant] {% endif %}");
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":"a"}])"),
              ElementsAre("a<|end|>"));
}

TEST(AssistantRangesTest, NoSpecialToken_RangeIsTheWholeTurn) {
  const auto chat_template = Parse(
      "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ '\\n' }}{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}");
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":"a"}])"),
              ElementsAre("a\n"));
}

TEST(AssistantRangesTest, TrimmedContent_IsStillFound) {
  const auto chat_template = Parse(
      "{% for m in messages %}<|start|>{{ m.content | trim }}<|end|>x<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|start|>{% endif %}");
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":" a\n"}])"),
              ElementsAre("a<|end|>"));
}

TEST(AssistantRangesTest, EarlierTurnsRenderedOtherwise_RefusedNamingTheMessage) {
  // As templates do that drop the reasoning of earlier turns.
  const auto chat_template = Parse(
      "{% for m in messages %}<|start|>{{ m.role }} {{ '<think>' if m.role == 'assistant' and "
      "loop.last }}{{ m.content }}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|start|>assistant {% endif %}");
  const std::string messages =
      R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"},)"
      R"({"role":"user","content":"r"},{"role":"assistant","content":"b"}])";
  EXPECT_THAT(Ranges(*chat_template, messages),
              ElementsAre(AllOf(HasSubstr("error: messages[1]"), HasSubstr("last_turn_only"))));
  EXPECT_THAT(Ranges(*chat_template, messages, {.last_turn_only = true}),
              ElementsAre("<think>b<|end|>"));
}

TEST(AssistantRangesTest, GenerationPromptThatIsNoPrefix_RefusedNamingTheMessage) {
  const auto chat_template = Parse(
      "{% for m in messages %}{{ m.role }}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}other{% endif %}");
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"assistant","content":"a"}])"),
              ElementsAre(HasSubstr("error: messages[0]: the conversation in front of it")));
}

TEST(AssistantRangesTest, PrefixThatTheTemplateRefuses_NamesTheMessage) {
  const auto chat_template = Parse(
      "{% if messages | length == 1 %}{{ raise_exception('too short') }}{% endif %}"
      "{% for m in messages %}{{ m.role }}{% endfor %}");
  EXPECT_THAT(Ranges(*chat_template, R"([{"role":"user"},{"role":"assistant"}])"),
              ElementsAre(AllOf(HasSubstr("messages[1]"), HasSubstr("too short"))));
}

// Templates of models, where the optional data is.
TEST(AssistantRangesTest, ModelTemplates_TwoTurns_EndOfTurnIncluded) {
  const char* shared = std::getenv("RETORT_SHARED");
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  const std::string data =
      (shared != nullptr ? shared : ResolvePath(source == nullptr ? "." : source, "../shared")) +
      std::string("/data/tokenizers/");
  if (!FileExists(data + "qwen3/tokenizer_config.json")) {
    GTEST_SKIP() << "no " << data << "; set RETORT_SHARED";
  }
  const std::string messages =
      R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"},)"
      R"({"role":"user","content":"r"},{"role":"assistant","content":"b"}])";
  const struct {
    const char *folder, *end, *last;
    bool every_turn;
  } cases[] = {
      {"gemma3", "<end_of_turn>", "b", true},
      {"deepseek_v3", "<｜end▁of▁sentence｜>", "b", true},
      {"qwen3", "<|im_end|>", "<think>\n\n</think>\n\nb", false},
  };
  for (const auto& c : cases) {
    const auto chat_template = ChatTemplate::Load(data + c.folder);
    ASSERT_TRUE(chat_template.ok()) << chat_template.status();
    const std::vector<std::string> special = {c.end};
    const auto every = RenderAssistant(**chat_template, Input(messages), special);
    EXPECT_EQ(every.ok(), c.every_turn) << c.folder;
    if (!every.ok()) {
      EXPECT_THAT(std::string(every.status().message()), HasSubstr("messages[1]"));
    } else {
      EXPECT_EQ(every->assistant.size(), 2u) << c.folder;
    }
    const auto last =
        RenderAssistant(**chat_template, Input(messages), special, {.last_turn_only = true});
    ASSERT_TRUE(last.ok()) << last.status();
    ASSERT_EQ(last->assistant.size(), 1u);
    const ByteRange range = last->assistant[0];
    EXPECT_EQ(last->chat.text.substr(range.begin, range.end - range.begin),
              absl::StrCat(c.last, c.end))
        << c.folder;
  }
}

TEST(AssistantRangesTest, TooManyTurns_RefusedUnlessTheLastOnly) {
  std::string messages = "[";
  for (int64_t i = 0; i <= kMaxAssistantMessages; ++i) {
    absl::StrAppend(&messages, i == 0 ? "" : ",", R"({"role":"assistant","content":"a"})");
  }
  messages += "]";
  const auto chat_template = Parse(kTurns);
  EXPECT_THAT(Ranges(*chat_template, messages),
              ElementsAre(HasSubstr("has 513 messages of the assistant; at most 512")));
  EXPECT_THAT(Ranges(*chat_template, messages, {.last_turn_only = true}), ElementsAre("a<|end|>"));
}

TEST(AssistantRangesTest, TouchingSpans_EdgesAndEmptySpans) {
  const std::vector<ByteRange> spans = {{0, 2}, {2, 4}, {3, 5}, {4, 4}, {5, 6}, {6, 9}};
  EXPECT_THAT(TouchingSpans(spans, std::vector<ByteRange>{{2, 5}, {8, 9}}),
              ElementsAre(false, true, true, false, false, true));
  EXPECT_THAT(TouchingSpans(spans, {}), testing::Each(false));
}

}  // namespace
}  // namespace retort::text
