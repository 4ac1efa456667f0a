#include "worker/tools/chat_command.h"

#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/digit_model.h"
#include "worker/tools/generate_command.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

constexpr absl::CivilSecond kNow(2024, 7, 26);

// A conversation is its messages one after the other; 0 follows each, and answers end with <eos>.
class ChatCommandTest : public ::testing::Test {
 protected:
  ChatCommandTest() {
    options_.model.folder = folder_;
    options_.draw.choice.max_new_tokens = 4;
    options_.draw.choice.temperature = 0;
    options_.draw.choice.ignore_eos = true;
    EXPECT_TRUE(WriteFileDurably(folder_ + "/chat_template.jinja",
                                 "{% for m in messages %}{{ m.content }}0{% endfor %}")
                    .ok());
  }
  ~ChatCommandTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  absl::Status Chat(const std::string& input) {
    std::istringstream in(input);
    std::ostringstream out, err;
    const absl::Status status = ChatCommand(options_, kNow, in, out, err);
    output_ = out.str();
    errors_ = err.str();
    return status;
  }

  // What `generate` answers to a whole prompt; each sample with its line end.
  std::string AnswerTo(const std::string& prompt, int64_t samples = 1) const {
    GenerateOptions generate;
    generate.model = options_.model;
    generate.draw = options_.draw;
    generate.prompt = prompt;
    generate.samples = samples;
    std::ostringstream out;
    EXPECT_TRUE(GenerateCommand(generate, out).ok());
    return out.str();
  }

  const std::string folder_ = WriteDigitModel("chat_command_test", 48);
  ChatOptions options_;
  std::string output_, errors_;
};

std::string WithoutLineEnd(const std::string& text) { return text.substr(0, text.size() - 1); }

TEST_F(ChatCommandTest, Lines_AnsweredWithAllThatWasSaid) {
  ASSERT_TRUE(Chat("12\n\n34\n").ok());
  const std::string first = AnswerTo("120");
  const std::string second = AnswerTo(absl::StrCat("120", WithoutLineEnd(first), "0340"));
  EXPECT_EQ(output_, first + second);
  EXPECT_EQ(errors_, "");
}

TEST_F(ChatCommandTest, System_ComesFirst_AlsoAfterReset) {
  options_.system = "77";
  ASSERT_TRUE(Chat("12\n/reset\n12\n/exit\n34\n").ok());
  const std::string answer = AnswerTo("770120");
  EXPECT_EQ(output_, answer + answer);
}

TEST_F(ChatCommandTest, Sampled_EachAnswer_FromTheStreamOfItsNumber) {
  options_.draw.choice.temperature = 3;
  options_.draw.choice.max_new_tokens = 12;
  ASSERT_TRUE(Chat("1\n2\n").ok());
  const std::vector<std::string> answers = absl::StrSplit(output_, '\n');
  const std::vector<std::string> samples =
      absl::StrSplit(AnswerTo(absl::StrCat("10", answers[0], "020"), 2), '\n');
  EXPECT_EQ(answers[0] + "\n", AnswerTo("10"));
  EXPECT_EQ(answers[1], samples[1]);
  EXPECT_NE(answers[1], samples[0]);
}

TEST_F(ChatCommandTest, Sampled_SameSeedSameConversation_SameAnswers) {
  options_.draw.choice.temperature = 3;
  options_.draw.choice.max_new_tokens = 12;
  ASSERT_TRUE(Chat("1\n/reset\n1\n").ok());
  const std::string before = output_;
  const std::vector<std::string> answers = absl::StrSplit(before, '\n');
  EXPECT_EQ(answers[0], answers[1]);  // A new conversation begins anew.
  ASSERT_TRUE(Chat("1\n/reset\n1\n").ok());
  EXPECT_EQ(output_, before);
  options_.draw.seed = 2;
  ASSERT_TRUE(Chat("1\n/reset\n1\n").ok());
  EXPECT_NE(output_, before);
}

TEST_F(ChatCommandTest, BadLine_EndsAPipe_NamesTheLine) {
  const absl::Status status = Chat("12\n3\xff\n34\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "line 2 of standard input: byte 1 is not UTF-8");
  EXPECT_EQ(output_, AnswerTo("120"));
}

TEST_F(ChatCommandTest, BadLine_OfAPerson_IsToldAndForgotten) {
  options_.interactive = true;
  ASSERT_TRUE(Chat("x\n12\n").ok());
  EXPECT_EQ(output_, absl::StrCat("> > ", AnswerTo("120"), "> \n"));
  EXPECT_THAT(errors_, HasSubstr("retort: conversation: "));
}

TEST_F(ChatCommandTest, UnsupportedMessage_OfAPerson_IsToldAndForgotten) {
  ASSERT_TRUE(WriteFileDurably(folder_ + "/chat_template.jinja",
                               "{% for m in messages %}{% if m.content == '9' %}"
                               "{{ m.content | urlencode }}{% endif %}{{ m.content }}0{% endfor %}")
                  .ok());
  options_.interactive = true;
  ASSERT_TRUE(Chat("9\n12\n").ok());
  EXPECT_EQ(output_, absl::StrCat("> > ", AnswerTo("120"), "> \n"));
  EXPECT_THAT(errors_, HasSubstr("urlencode"));
}

TEST_F(ChatCommandTest, CarriageReturns_AreNoPartOfAMessage) {
  ASSERT_TRUE(Chat("12\r\n").ok());
  EXPECT_EQ(output_, AnswerTo("120"));
}

TEST_F(ChatCommandTest, TemplateVariables_ReachTheTemplate) {
  ASSERT_TRUE(WriteFileDurably(folder_ + "/chat_template.jinja",
                               "{% for m in messages %}{{ m.content }}{{ 7 if thinking else 8 }}"
                               "{{ x }}{% endfor %}")
                  .ok());
  options_.template_variables = {"thinking=false", "x=\"3\""};
  ASSERT_TRUE(Chat("12\n").ok());
  EXPECT_EQ(output_, AnswerTo("1283"));
  options_.template_variables = {"thinking=no"};
  EXPECT_THAT(std::string(Chat("12\n").message()), HasSubstr("is \"no\", which is not JSON"));
  options_.template_variables = {"thinking"};
  EXPECT_THAT(std::string(Chat("12\n").message()), HasSubstr("\"thinking\" is not NAME=JSON"));
  options_.template_variables = {"messages=[]"};
  EXPECT_THAT(std::string(Chat("12\n").message()), HasSubstr("is given twice"));
}

TEST_F(ChatCommandTest, ConversationBeyondTheContext_Refused) {
  EXPECT_THAT(std::string(Chat(std::string(50, '1') + "\n").message()),
              HasSubstr("the conversation has 51 tokens; the model's context is 48"));
}

TEST_F(ChatCommandTest, FolderWithoutTemplate_NotFound) {
  ASSERT_TRUE(RemoveRecursively(folder_ + "/chat_template.jinja").ok());
  const absl::Status status = Chat("12\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("chat_template"));
}

TEST_F(ChatCommandTest, TemplateThatRaises_ItsMessage) {
  ASSERT_TRUE(WriteFileDurably(folder_ + "/chat_template.jinja",
                               "{{ raise_exception('only ' ~ messages|length) }}")
                  .ok());
  EXPECT_THAT(std::string(Chat("12\n").message()), HasSubstr("only 1"));
}

TEST_F(ChatCommandTest, SystemThatIsNotUtf8_RefusedOrReplaced) {
  options_.system = "7\xff";
  EXPECT_EQ(Chat("").message(), "system: byte 1 is not UTF-8");
  options_.replace_invalid_utf8 = true;
  EXPECT_TRUE(Chat("").ok());
}

}  // namespace
}  // namespace retort::worker
