#include "common/text/chat_template.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kUser[] = R"([{"role": "user", "content": "hi"}])";

using Loaded = absl::StatusOr<std::unique_ptr<const ChatTemplate>>;

Loaded Config(const std::string& json) {
  ChatTemplateFiles files;
  files.tokenizer_config = json;
  return ChatTemplate::Parse(files, "m");
}

ChatInput Input(const std::string& messages = kUser) {
  ChatInput input;
  input.messages = messages;
  return input;
}

std::string TextOf(const Loaded& chat_template, const ChatInput& input = Input()) {
  if (!chat_template.ok()) return std::string(chat_template.status().message());
  const auto got = (*chat_template)->Render(input);
  return got.ok() ? got->text : std::string(got.status().message());
}

TEST(ChatTemplateTest, Load_JinjaFileBesideTheConfig_TheFileWins) {
  const std::string folder = testing::TempDir() + "/chat_template_test";
  ASSERT_TRUE(RemoveRecursively(folder).ok());
  ASSERT_TRUE(MakeDirectories(folder).ok());
  EXPECT_THAT(TextOf(ChatTemplate::Load(folder)),
              AllOf(HasSubstr(folder), HasSubstr("chat_template")));
  ASSERT_TRUE(WriteFileDurably(folder + "/tokenizer_config.json",
                               R"({"chat_template": "config", "bos_token": "<s>"})")
                  .ok());
  EXPECT_EQ(TextOf(ChatTemplate::Load(folder)), "config");
  ASSERT_TRUE(WriteFileDurably(folder + "/chat_template.jinja", "{{ bos_token }}file").ok());
  EXPECT_EQ(TextOf(ChatTemplate::Load(folder)), "<s>file");
  ASSERT_TRUE(WriteFileDurably(folder + "/chat_template.jinja", "a\n{{ x.y }}").ok());
  EXPECT_THAT(TextOf(ChatTemplate::Load(folder)), HasSubstr(folder + "/chat_template.jinja:2: "));
}

TEST(ChatTemplateTest, Parse_NoTemplate_NotFoundNamingTheField) {
  for (const char* json : {"{}", R"({"chat_template": null})", R"({"chat_template": []})"}) {
    const Loaded loaded = Config(json);
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kNotFound) << json;
    EXPECT_THAT(TextOf(loaded), HasSubstr("chat_template")) << json;
  }
}

TEST(ChatTemplateTest, Parse_Malformed_RefusedNamingFileAndField) {
  const struct {
    const char *json, *message;
  } cases[] = {
      {"{", "m/tokenizer_config.json: not valid JSON"},
      {"[]", "m/tokenizer_config.json: expected an object"},
      {R"({"chat_template": 5})", "m/tokenizer_config.json: chat_template is neither"},
      {R"({"chat_template": [{"name": "default"}]})", "chat_template[0]"},
      {R"({"chat_template": [5]})", "chat_template[0]"},
      {R"({"chat_template": "{% if %}"})", "m/tokenizer_config.json: chat_template:1: "},
      {R"({"chat_template": "", "bos_token": 5})", "m/tokenizer_config.json: bos_token is neither"},
      {R"({"chat_template": "", "bos_token": {"content": 1}})", "bos_token is neither"},
  };
  for (const auto& c : cases) EXPECT_THAT(TextOf(Config(c.json)), HasSubstr(c.message)) << c.json;
}

TEST(ChatTemplateTest, Render_NamedTemplates_ToolUseOnlyWithTools) {
  const Loaded loaded =
      Config(R"({"chat_template": [{"name": "default", "template": "plain {{ tools is none }}"},)"
             R"({"name": "rag", "template": "{% if %}"},)"
             R"({"name": "tool_use", "template": "tools {{ tools | length }}"}]})");
  ChatInput input = Input();
  EXPECT_EQ(TextOf(loaded, input), "plain True");
  input.tools = "null";
  EXPECT_EQ(TextOf(loaded, input), "plain True");
  input.tools = R"([{"name": "f"}])";
  EXPECT_EQ(TextOf(loaded, input), "tools 1");
}

TEST(ChatTemplateTest, Render_ToolUseFile_OnlyWithTools) {
  ChatTemplateFiles files;
  files.chat_template_jinja = "plain";
  files.tool_use_jinja = "tools {{ tools | length }}";
  const Loaded loaded = ChatTemplate::Parse(files, "m");
  ChatInput input = Input();
  EXPECT_EQ(TextOf(loaded, input), "plain");
  input.tools = R"([{"name": "f"}])";
  EXPECT_EQ(TextOf(loaded, input), "tools 1");
}

TEST(ChatTemplateTest, Render_SpecialTokens_ConfigFirstNullIsUndefined) {
  ChatTemplateFiles files;
  files.chat_template_jinja =
      "{{ bos_token }}|{{ eos_token }}|{{ unk_token is defined }}|{{ pad_token }}|{{ mask_token }}";
  files.tokenizer_config =
      R"({"bos_token": {"content": "<é\"b>"}, "eos_token": "</s>", "unk_token": null})";
  files.special_tokens_map =
      R"({"eos_token": "no", "unk_token": "no", "pad_token": {"content": "<pad>"}})";
  EXPECT_EQ(TextOf(ChatTemplate::Parse(files, "m")), "<é\"b>|</s>|False|<pad>|");
}

TEST(ChatTemplateTest, Render_Variables_ReachTheTemplate) {
  const Loaded loaded = Config(
      R"({"eos_token": "e", "chat_template": "{{ messages[0].content }} {{ add_generation_prompt }} )"
      R"({{ documents }} {{ thinking }} {{ eos_token }} {{ date is defined }}"})");
  ChatInput input = Input();
  input.add_generation_prompt = true;
  input.variables = {{"thinking", "false"}, {"eos_token", "\"mine\""}};
  EXPECT_EQ(TextOf(loaded, input), "hi True None False mine False");
  input.variables = {{"messages", "[]"}};
  EXPECT_THAT(TextOf(loaded, input), HasSubstr("\"messages\" of the template is given twice"));
}

TEST(ChatTemplateTest, Render_Reasoning_UnderTheNamesOfTransformers) {
  const Loaded loaded =
      Config(R"({"chat_template": "{% for m in messages %}{{ m | tojson }}{% endfor %}"})");
  ChatInput input = Input();
  const auto rendered = [&](const char* message) {
    input.messages = std::string("[") + message + "]";
    return TextOf(loaded, input);
  };
  EXPECT_EQ(rendered(R"({"role": "a", "reasoning": "r"})"),
            R"({"thinking": "r", "role": "a", "reasoning": "r", "reasoning_content": "r"})");
  EXPECT_EQ(rendered(R"({"role": "a", "thinking": "t", "reasoning": "r"})"),
            R"({"thinking": "t", "role": "a", "reasoning": "r", "reasoning_content": "t"})");
  EXPECT_EQ(rendered(R"({"reasoning_content": "c", "thinking": null})"),
            R"({"thinking": null, "reasoning_content": "c"})");
  EXPECT_EQ(rendered(R"({"role": "a", "thinking": null})"), R"({"role": "a", "thinking": null})");
}

TEST(ChatTemplateTest, Render_Date_IsTheGivenOne) {
  const Loaded loaded = Config(R"({"chat_template": "{{ strftime_now('%d %b %Y') }}"})");
  ChatInput input = Input();
  EXPECT_THAT(TextOf(loaded, input), HasSubstr("strftime_now"));
  input.now = absl::CivilSecond(2024, 7, 26);
  EXPECT_EQ(TextOf(loaded, input), "26 Jul 2024");
}

TEST(ChatTemplateTest, Render_HugeIntegersAndKeyOrder_AsWritten) {
  const Loaded loaded = Config(R"({"chat_template": "{{ messages[0] | tojson }}"})");
  const std::string message = R"({"z": 123456789012345678901234567890, "a": 1e-05, "m": null})";
  EXPECT_EQ(TextOf(loaded, Input(absl::StrCat("[", message, "]"))), message);
}

TEST(ChatTemplateTest, Render_MessagesOrToolsNoArrayOfObjects_Refused) {
  const Loaded loaded = Config(R"({"chat_template": "x"})");
  EXPECT_THAT(TextOf(loaded, Input("{}")), HasSubstr("messages: expected a JSON array"));
  EXPECT_THAT(TextOf(loaded, Input("[1]")), HasSubstr("messages[0] is number"));
  EXPECT_THAT(TextOf(loaded, Input("")), HasSubstr("messages: not valid JSON"));
  ChatInput input = Input();
  input.tools = "[[]]";
  EXPECT_THAT(TextOf(loaded, input), HasSubstr("tools[0] is array"));
  EXPECT_EQ(TextOf(loaded, Input("[]")), "x");
}

TEST(ChatTemplateTest, RenderFirst_OfMessages_TheRestIsGone) {
  const Loaded loaded = Config(
      R"({"chat_template": "{{ messages | map(attribute='content') | join }}{{ add_generation_prompt }}"})");
  const auto input = Input(R"([{"content": "a"}, {"content": "b"}, {"content": "c"}])");
  EXPECT_EQ((*loaded)->RenderFirst(input, 2, true)->text, "abTrue");
  EXPECT_EQ((*loaded)->RenderFirst(input, 0, false)->text, "False");
}

}  // namespace
}  // namespace retort::text
