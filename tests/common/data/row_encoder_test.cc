#include "common/data/row_encoder.h"

#include "absl/strings/str_cat.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"

namespace retort::data {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

// role:content<eos>, the tools and the date in front where there are some.
constexpr char kTemplate[] =
    "{% if tools %}{{ tools | tojson }}<eos>{% endif %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}";

// As Qwen3's: the reasoning of earlier turns is dropped.
constexpr char kForgetful[] =
    "{% for m in messages %}{{ m.role }}:{% if loop.last and m.think %}({{ m.think }}){% endif %}"
    "{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

constexpr char kTwoTurns[] =
    R"({"messages":[{"role":"user","content":"p"},{"role":"assistant","content":"q","think":"m"},)"
    R"({"role":"user","content":"r"},{"role":"assistant","content":"s","think":"n"},)"
    R"({"role":"user","content":"t"}]})";

class RowEncoderTest : public testing::Test {
 protected:
  std::shared_ptr<const RowEncoder> Make(const char* source = kTemplate) {
    absl::StatusOr<std::shared_ptr<const text::ChatTemplate>> chat =
        absl::NotFoundError("model: no chat template");
    if (source != nullptr) {
      text::ChatTemplateFiles files;
      files.chat_template_jinja = source;
      chat = text::ChatTemplate::Parse(files, "model");
      EXPECT_TRUE(chat.ok()) << chat.status();
    }
    auto encoder = RowEncoder::Make(std::move(chat), tokenizer_, config_, spec_);
    EXPECT_TRUE(encoder.ok()) << encoder.status();
    return *std::move(encoder);
  }
  static Row RowOf(const std::string& line) {
    const auto dataset = Dataset::Parse(line, "rows.jsonl");
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset->row(0);
  }
  std::string Text(const std::vector<int64_t>& ids) {
    const auto text = tokenizer_->Decode(ids, /*skip_special_tokens=*/false);
    EXPECT_TRUE(text.ok()) << text.status();
    return *text;
  }
  // The trained tokens in brackets, or the error.
  std::string Trained(const RowEncoder& encoder, const std::string& line) {
    const auto example = encoder.Example(RowOf(line), absl::InternalError("no EOS wanted"));
    if (!example.ok()) return absl::StrCat("error: ", example.status().message());
    EXPECT_EQ(example->trained.size(), example->ids.size());
    std::string text;
    for (size_t t = 0; t < example->ids.size(); ++t) {
      const std::string token = Text({example->ids[t]});
      absl::StrAppend(&text, example->trained[t] ? absl::StrCat("[", token, "]") : token);
    }
    EXPECT_TRUE(example->trained[example->prompt_length]);
    return text;
  }
  std::string PromptError(const RowEncoder& encoder, const std::string& line) {
    return std::string(encoder.Prompt(RowOf(line)).status().message());
  }

  std::shared_ptr<const text::Tokenizer> tokenizer_ = text::MakeTokenizer(text::ByteLevelFile());
  layout::ModelConfig config_;
  v1::DataSpec spec_;
};

TEST_F(RowEncoderTest, Plain_PromptResponseAndEos) {
  const Row row = RowOf(R"({"prompt":"1=","answer":"23"})");
  const auto encoder = Make(nullptr);
  EXPECT_THAT(encoder->Prompt(row)->ids, ElementsAre('1', '='));
  EXPECT_EQ(encoder->Prompt(row)->text, "1=");
  const auto example = encoder->Example(row, 300);
  ASSERT_TRUE(example.ok()) << example.status();
  EXPECT_THAT(example->ids, ElementsAre('1', '=', '2', '3', 300));
  EXPECT_THAT(example->trained, ElementsAre(false, false, true, true, true));
  EXPECT_EQ(example->prompt_length, 2);
  EXPECT_EQ(encoder->Example(row, absl::NotFoundError("x")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(encoder->Example(RowOf(R"({"prompt":"1"})"), 300).status().ToString(),
              HasSubstr("no \"response\""));
}

TEST_F(RowEncoderTest, Plain_Bos_InFrontWhenAsked) {
  EXPECT_THAT(PromptError(*Make(), R"({"prompt":""})"), HasSubstr("the prompt has no tokens"));
  spec_.set_add_bos(true);
  EXPECT_THAT(
      RowEncoder::Make(absl::NotFoundError(""), tokenizer_, config_, spec_).status().ToString(),
      HasSubstr("neither tokenizer nor model names a BOS token"));
  config_.bos_token_id = 7;
  EXPECT_THAT(Make()->Prompt(RowOf(R"({"prompt":""})"))->ids, ElementsAre(7));
  EXPECT_THAT(Make()->Prompt(RowOf(R"({"prompt":"1"})"))->ids, ElementsAre(7, '1'));
  // A template writes its own.
  EXPECT_EQ(Make()->Prompt(RowOf(R"({"messages":[{"role":"user","content":"p"}]})"))->ids[0], 'u');
}

TEST_F(RowEncoderTest, ChatPrompt_TheMessagesThatAskAndTheGenerationPrompt) {
  const auto encoder = Make();
  const std::string want = "system:s<eos>user:p<eos>assistant:";
  for (const char* answered : {"", R"(,{"role":"assistant","content":"q"})"}) {
    const auto prompt =
        encoder->Prompt(RowOf(absl::StrCat(R"({"messages":[{"role":"system","content":"s"},)",
                                           R"({"role":"user","content":"p"})", answered, "]}")));
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_EQ(prompt->text, want);
    EXPECT_EQ(Text(prompt->ids), want);
    EXPECT_EQ(prompt->ids[8], 300);  // The special token, not its letters.
  }
  EXPECT_THAT(PromptError(*encoder, R"({"messages":[{"role":"assistant","content":"q"}]})"),
              HasSubstr("begins with the assistant's answer"));
}

TEST_F(RowEncoderTest, ChatExample_EachTurnOfTheAssistantUpToItsEnd) {
  EXPECT_EQ(Trained(*Make(), kTwoTurns),
            "user:p<eos>assistant:[q][<eos>]user:r<eos>assistant:[s][<eos>]");
  spec_.set_last_turn_only(true);
  EXPECT_EQ(Trained(*Make(), kTwoTurns),
            "user:p<eos>assistant:q<eos>user:r<eos>assistant:[s][<eos>]");
}

TEST_F(RowEncoderTest, ChatExample_TokenThatCrossesTheBegin_IsTrained) {
  EXPECT_EQ(Trained(*Make("{% for m in messages %}{{ m.role[:1] }}{{ m.content }}<eos>{% endfor %}"
                          "{% if add_generation_prompt %}a{% endif %}"),
                    R"({"messages":[{"role":"user","content":"p"},)"
                    R"({"role":"assistant","content":"bz"}]})"),
            "up<eos>[ab][z][<eos>]");
}

TEST_F(RowEncoderTest, ChatExample_TemplateThatForgets_RefusedBeyondTheLastTurn) {
  const std::string line =
      R"({"messages":[{"role":"user","content":"p"},{"role":"assistant","content":"q","think":"m"},)"
      R"({"role":"user","content":"r"},{"role":"assistant","content":"s","think":"n"}]})";
  EXPECT_THAT(Trained(*Make(kForgetful), line),
              AllOf(HasSubstr("error: messages[1]"), HasSubstr("last_turn_only")));
  spec_.set_last_turn_only(true);
  EXPECT_EQ(Trained(*Make(kForgetful), line),
            "user:p<eos>assistant:q<eos>user:r<eos>assistant:[(][n][)][s][<eos>]");
}

TEST_F(RowEncoderTest, ChatExample_NothingToTrainOn_Refused) {
  EXPECT_THAT(Trained(*Make(), R"({"messages":[{"role":"user","content":"p"}]})"),
              HasSubstr("error: the conversation has no token of the assistant"));
}

TEST_F(RowEncoderTest, Chat_Tools_ReachTheTemplateAsTheyAreSpelt) {
  const auto prompt =
      Make()->Prompt(RowOf(R"({"tools": [{"n": 123456789012345678901234567890, "a": 1e2}],)"
                           R"( "messages": [{"role": "user", "content": "\u00e9"}]})"));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->text,
            R"([{"n": 123456789012345678901234567890, "a": 100.0}]<eos>user:é<eos>assistant:)");
}

TEST_F(RowEncoderTest, Chat_Date_TheJobs) {
  constexpr char kDated[] = "{{ strftime_now('%d %b %Y %H:%M') }}";
  const std::string line = R"({"messages":[{"role":"user","content":"p"}]})";
  EXPECT_THAT(PromptError(*Make(kDated), line), HasSubstr("strftime_now"));
  spec_.set_template_time("2026-03-01T09:30:00");
  EXPECT_EQ(Make(kDated)->Prompt(RowOf(line))->text, "01 Mar 2026 09:30");
  spec_.set_template_time("yesterday");
  EXPECT_THAT(
      RowEncoder::Make(absl::NotFoundError(""), tokenizer_, config_, spec_).status().ToString(),
      HasSubstr("data.template_time is \"yesterday\"; expected a time such as 2026"));
}

TEST_F(RowEncoderTest, Chat_WithoutATemplate_SaysWhatToDo) {
  const auto encoder = Make(nullptr);
  const std::string line = R"({"messages":[{"role":"user","content":"p"}]})";
  for (const std::string& error : {PromptError(*encoder, line), Trained(*encoder, line)}) {
    EXPECT_THAT(error, AllOf(HasSubstr("the row is a conversation, but model: no chat template"),
                             HasSubstr("write {\"prompt\", \"response\"}")));
  }
}

}  // namespace
}  // namespace retort::data
