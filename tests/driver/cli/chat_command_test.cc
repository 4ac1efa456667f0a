#include "driver/cli/chat_command.h"

#include <sstream>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::HasSubstr;

class ChatCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/chat_command_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_TRUE(RemoveRecursively(folder_).ok());
    ASSERT_TRUE(MakeDirectories(folder_).ok());
    Write("chat_template.jinja",
          "{{ strftime_now('%Y') }}{% if tools %}{{ tools | tojson }}{% endif %}"
          "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
          "{% if add_generation_prompt %}<assistant>{% endif %}");
    Write("messages.json", R"([{"role": "user", "content": "a\u0000é\n"}])");
    options_.model = folder_;
    options_.messages = folder_ + "/messages.json";
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileDurably(folder_ + "/" + name, text).ok());
  }

  std::string Run() {
    std::ostringstream out;
    const absl::Status status = RenderChatCommand(options_, absl::CivilSecond(2024, 7, 26), out);
    return status.ok() ? out.str() : std::string(status.message());
  }

  std::string folder_;
  RenderChatOptions options_;
};

TEST_F(ChatCommandTest, Render_Messages_ExactlyThePrompt) {
  EXPECT_EQ(Run(), std::string("2024<user>a\0é\n", 15));
}

TEST_F(ChatCommandTest, Render_ToolsAndGenerationPrompt_ReachTheTemplate) {
  Write("tools.json", R"([{"name":"f"}])");
  options_.tools = folder_ + "/tools.json";
  options_.add_generation_prompt = true;
  EXPECT_EQ(Run(), std::string("2024[{\"name\": \"f\"}]<user>a\0é\n<assistant>", 41));
}

TEST_F(ChatCommandTest, Render_TemplateVariables_ReachTheTemplate) {
  Write("chat_template.jinja", "{{ enable_thinking }}{{ n + 1 }}");
  options_.template_variables = {"enable_thinking=false", "n=41"};
  EXPECT_EQ(Run(), "False42");
  options_.template_variables = {"enable thinking=false"};
  EXPECT_THAT(Run(), HasSubstr("is not NAME=JSON"));
}

TEST_F(ChatCommandTest, MissingOrMalformedFiles_AreNamed) {
  Write("messages.json", "{");
  EXPECT_THAT(Run(), HasSubstr("messages: not valid JSON"));
  options_.messages = folder_ + "/nowhere.json";
  EXPECT_THAT(Run(), HasSubstr("nowhere.json"));
  options_.model = folder_ + "/nowhere";
  EXPECT_THAT(Run(), HasSubstr("chat_template"));
}

}  // namespace
}  // namespace retort::driver
