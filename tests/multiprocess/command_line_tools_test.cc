// The commands around a model folder as a user types them: through the shell, with exit codes and
// what goes to stdout and stderr.
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"
#include "nlohmann/json.hpp"
#include "testing/digit_model.h"

namespace retort {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

struct Result {
  int code = 0;
  std::string out;
};

class CommandLineToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteFileDurably(model_ + "/chat_template.jinja",
                                 "{% for m in messages %}{{ m.content }}{% endfor %}0")
                    .ok());
  }
  void TearDown() override {
    EXPECT_TRUE(RemoveRecursively(model_).ok());
    EXPECT_TRUE(RemoveRecursively(model_ + ".new").ok());
  }

  // A line for sh, where R stands for this build's retort, M for the model and N for a new folder.
  Result Run(const std::string& line) const {
    const std::string script = absl::StrCat("R=", std::getenv("RETORT_BIN_DIR"),
                                            "/retort; M=", model_, "; N=$M.new; ", line);
    ChildProcess shell({"sh", "-c", script});
    const int code = shell.Wait();
    return {code, shell.output()};
  }

  std::string Output(const std::string& line) const {
    const Result result = Run(line);
    EXPECT_EQ(result.code, 0) << line << "\n" << result.out;
    return result.out;
  }

  Json Object(const std::string& line) const {
    const auto json = ParseJson(Output(line), line);
    EXPECT_TRUE(json.ok()) << json.status();
    return json.value_or(Json());
  }

  // Exit code 2, nothing on stdout, and one line on stderr that begins so.
  void Refused(const std::string& line, const std::string& want) const {
    const Result result = Run(absl::StrCat(
        "{ ", line, "; } 2>&1 >$M.stdout; code=$?; cat $M.stdout;", " rm $M.stdout; exit $code"));
    EXPECT_EQ(result.code, 2) << line << "\n" << result.out;
    EXPECT_THAT(result.out, StartsWith("retort: ")) << line;
    EXPECT_THAT(result.out, HasSubstr(want)) << line;
    EXPECT_EQ(result.out.find('\n'), result.out.size() - 1) << result.out;
  }

  const std::string model_ = WriteDigitModel("command_line_tools_test", 64);
};

// A file-size limit is a full disk: told, and cleaned up.
TEST_F(CommandLineToolsTest, Convert_FileSizeLimit_OneLineAndNothingLeft) {
  const Result result =
      Run("(ulimit -f 4; $R model convert $M $N 2>&1); echo code=$?; ls -d $N* 2>/dev/null");
  EXPECT_THAT(result.out, EndsWith("File too large\ncode=1\n"));
}

// A driver refuses workers of other sources by this line.
TEST_F(CommandLineToolsTest, Version_IsOneBuildOfBothPrograms) {
  const std::string version = Output("$R --version");
  EXPECT_THAT(version, MatchesRegex("retort [0-9.]+ \\(build [0-9a-f]{12}\\)\n"));
  EXPECT_EQ(Output("$R-worker --version"), version);
}

TEST_F(CommandLineToolsTest, Generate_Flags_ReachTheSampler) {
  const std::string greedy = Output("$R generate --model $M --prompt 314 --temperature 0");
  EXPECT_EQ(greedy, Output("printf 314 | $R generate --model $M --prompt - --temperature=0"));
  const Json json = Object(
      "$R generate --model $M --prompt 314 --json --n 3 --max-new-tokens 6 --temperature 2 --top-k "
      "9 "
      "--top-p 0.99 --min-p 0.001 --repetition-penalty 1.1 --min-new-tokens 2 --ignore-eos --stop "
      "99 "
      "--stop '[7]' --seed 4 --top-log-probs 2 --no-special-tokens --threads 2");
  EXPECT_EQ(json["prompt_ids"], Json({3, 1, 4}));
  EXPECT_EQ(json["samples"].size(), 3u);
  EXPECT_EQ(json["samples"][0]["top"][0].size(), 2u);
}

TEST_F(CommandLineToolsTest, Generate_Adapter_Unmerged) {
  const std::string adapter = WriteDigitAdapter("command_line_tools_adapter", 64);
  const std::string line = "$R generate --model $M --prompt 314 --temperature 0 --ignore-eos ";
  EXPECT_NE(Output(line), Output(absl::StrCat(line, "--adapter ", adapter)));
  const std::string merged = Output(absl::StrCat("$R model merge-lora --model $M --adapter ",
                                                 adapter, " --output $N --threads 1"));
  EXPECT_THAT(merged, HasSubstr("float32"));
  EXPECT_EQ(Output(absl::StrReplaceAll(line, {{"$M", "$N"}})),
            Output(absl::StrCat(line, "--adapter ", adapter)));
  ASSERT_TRUE(RemoveRecursively(adapter).ok());
}

TEST_F(CommandLineToolsTest, Score_TextJsonAndStdin) {
  const std::string text = Output("$R score --model $M --prompt 314 --completion 159");
  EXPECT_THAT(text, StartsWith("1\t-"));
  EXPECT_THAT(text, HasSubstr("total\t-"));
  EXPECT_EQ(text, Output("printf 159 | $R score --model $M --prompt 314 --completion -"));
  const Json json = Object(
      "$R score --model $M --prompt 314 --completion 159 --json "
      "--top-log-probs 3 --temperature 0.5");
  EXPECT_EQ(json["ids"], Json({1, 5, 9}));
  EXPECT_EQ(json["top"][2].size(), 3u);
}

TEST_F(CommandLineToolsTest, Chat_Piped_AnswersALineEach) {
  const std::string output = Output(
      "printf '12\\n34\\n/exit\\n56\\n' | $R chat --model $M --system 7 --max-new-tokens 4 --seed "
      "3");
  EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 2) << output;
  EXPECT_EQ(output.find_first_not_of("0123456789\n"), std::string::npos) << output;
}

TEST_F(CommandLineToolsTest, Chat_Render_IsTheDrivers) {
  EXPECT_EQ(Output("echo '[{\"role\": \"user\", \"content\": \"31\"}]' | "
                   "$R chat --model $M --render"),
            "310");
}

TEST_F(CommandLineToolsTest, ModelFolders_MadeConvertedDescribed) {
  EXPECT_THAT(Output("$R model init --config $M --output $N/ --seed 3 --std 0.1 --dtype bfloat16"),
              HasSubstr("bfloat16"));
  const Json info = Object("$R model info $N --json");
  EXPECT_EQ(info["family"], "llama");
  EXPECT_TRUE(info["weights"]["tensors"].contains("BF16"));
  EXPECT_EQ(info["tokenizer_vocab_size"], 11);
  EXPECT_EQ(info["chat_template"], true);
  Refused("$R model convert $M $N", ".new is not empty");
  Refused("rm -r $N; ln -s $M $N; $R model convert $M $N", ".new is a link");
  Output("rm -r $N; $R model convert $M $N --dtype float16 --shard-size 10kB --config-style v5");
  const Json converted = Object("$R model info $N --json");
  EXPECT_GT(converted["weights"]["files"], 1);
  EXPECT_EQ(converted["parameters"], info["parameters"]);
  EXPECT_THAT(Output("$R model info $N"), HasSubstr("tensors F16\n"));
}

TEST_F(CommandLineToolsTest, Help_OfEveryCommand) {
  for (const char* command :
       {"", "generate", "score", "serve", "chat", "chat --render", "tokenize", "model",
        "model info", "model init", "model convert", "model merge-lora"}) {
    EXPECT_THAT(Output(absl::StrCat("$R ", command, " --help")), HasSubstr("Usage: retort"))
        << command;
  }
}

TEST_F(CommandLineToolsTest, BadCommandLines_OneLineThatNamesTheWord) {
  Refused("$R generate --model $M", "--prompt is required");
  Refused("$R generate --modl $M --prompt 1", "--modl is no option of retort generate");
  Refused("$R generate --model $M --prompt 1 --temperature hot", "--temperature");
  Refused("$R generate --model $M --prompt 1 --n 0", "--n");
  Refused("$R generate --model $M --prompt 1 --top-p 0", "top_p is 0");
  Refused("$R generate --model $M --prompt 1 --max-new-tokens 64", "max_new_tokens is 64");
  Refused("$R generate --model $M --prompt 1 --stop ''", "stop[0] has 0 bytes");
  Refused("$R chat --model $M extra", "\"extra\" is one word too many");
  Refused("$R model", "no command; expected one of info, init, convert, merge-lora");
  Refused("$R model make", "make is no command");
  Refused("$R model convert $M", "output is required");
  Refused("$R model convert $M $N --dtype int8", "--dtype");
  Refused("$R model convert $M $N --shard-size 5parsec", "--shard-size");
  Refused("$R model convert $M $N --shard-size 0", "is 0; expected a size such as 5GB");
  Refused("$R model init --output $N", "--config is required");
}

TEST_F(CommandLineToolsTest, BadTexts_NameTheByte) {
  Refused("$R generate --model $M --prompt \"$(printf '31\\377')\"", "prompt: ");
  EXPECT_EQ(Run("$R generate --model $M --prompt \"$(printf '31\\377')\" --invalid-utf8 replace "
                "2>/dev/null")
                .code,
            2);  // This tokenizer cannot spell U+FFFD.
  Refused("$R score --model $M --prompt 1 --completion ''", "the completion is empty");
  Refused("printf '12\\nx\\n' | $R chat --model $M --max-new-tokens 1 >/dev/null",
          "line 2 of standard input: conversation: ");
}

TEST_F(CommandLineToolsTest, BadFolders_NameFileAndField) {
  Refused("$R generate --model $M.nowhere --prompt 1", ".nowhere/config.json");
  Refused("mkdir $N; ln -s $M $N/model; $R generate --model $N --prompt 1", ".new/model is; did");
  Refused("$R generate --model $M --adapter $M --prompt 1", "adapter_config.json");
  Refused("printf '{\"top_k\": -1}' > $M/generation_config.json; $R generate --model $M --prompt 1",
          "generation_config.json: top_k");
  Refused("rm $M/generation_config.json $M/chat_template.jinja; echo 1 | $R chat --model $M",
          "chat_template");
  Refused(
      "mv $M/model.safetensors $M/pytorch_model.bin; $R score --model $M --prompt 1 "
      "--completion 1",
      "load and save the model with Transformers to convert it");
  Refused("sed -i 's/\"vocab_size\": 12/\"vocab_size\": -1/' $M/config.json; $R model info $M",
          "config.json: vocab_size");
}

// A small trained model that lies beside the checkout.
TEST(CommandLineToolsGoldenTest, Generate_EmptyPrompt_WhatTheModelSays) {
  const char* shared = std::getenv("RETORT_SHARED");
  const std::string folder = absl::StrCat(
      shared != nullptr ? shared : absl::StrCat(std::getenv("RETORT_SOURCE_DIR"), "/../shared"),
      "/data/models/aidreams260K");
  if (!FileExists(folder)) GTEST_SKIP() << "no " << folder << "; set RETORT_SHARED";
  ChildProcess generate({absl::StrCat(std::getenv("RETORT_BIN_DIR"), "/retort"), "generate",
                         "--model", folder, "--prompt", "", "--temperature", "0",
                         "--max-new-tokens", "24"});
  EXPECT_EQ(generate.Wait(), 0);
  EXPECT_EQ(generate.output(), "\"Echoes of vectors unfold, a gentle hum of precision, as I s\n");
}

}  // namespace
}  // namespace retort
