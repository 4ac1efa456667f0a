#include "common/base/command_line.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(FillStandardDescriptorsDeathTest, ClosedOnes_StayUnusable_OthersGetHigherNumbers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [] {
    for (int fd = 0; fd < 3; ++fd) close(fd);
    FillStandardDescriptors();
    char c = 0;
    const bool unusable = read(0, &c, 1) < 0 && write(1, &c, 1) < 0 && write(2, &c, 1) < 0;
    _exit(unusable && open("/dev/null", O_RDONLY) > 2 ? 7 : 1);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(7), "");
}

// The line that `words` print, "" if they parse.
std::string ErrorOf(std::vector<std::string> words) {
  CLI::App app;
  SetUpCommandLine("/repo/build/bin/retort", app);
  app.require_subcommand(1);
  std::string job, model;
  app.add_subcommand("plan", "")->add_option("job", job)->required();
  CLI::App* const generate = app.add_subcommand("generate", "");
  generate->add_option("--model", model)->required();
  generate->add_option("--max", job)->check(CLI::Range(1, 9));
  CLI::App* const tokenizer = app.add_subcommand("tokenizer", "");
  tokenizer->require_subcommand(1);
  tokenizer->add_subcommand("train", "");
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return ParseErrorLine(app, error);
  }
  return "";
}

TEST(CommandLineTest, WrongLine_NamesTheWordAndWhereToRead) {
  const struct {
    std::vector<std::string> words;
    const char* want;
  } cases[] = {
      {{"plan", "a.yaml"}, ""},
      {{}, "retort: no command; expected one of plan, generate, tokenizer; see retort --help\n"},
      {{"frobnicate"},
       "retort: frobnicate is no command; expected one of plan, generate, tokenizer; see retort "
       "--help\n"},
      {{"--frob"}, "retort: --frob is no option of retort; see retort --help\n"},
      {{"tokenizer"}, "retort: no command; expected one of train; see retort tokenizer --help\n"},
      {{"plan"}, "retort: job is required; see retort plan --help\n"},
      {{"plan", "a", "b"}, "retort: \"b\" is one word too many; see retort plan --help\n"},
      {{"generate", "--modl", "x"},
       "retort: --modl is no option of retort generate; see retort generate --help\n"},
      {{"generate", "--modl=x"},
       "retort: --modl is no option of retort generate; see retort generate --help\n"},
      {{"generate", "--max", "0"},
       "retort: --max: Value 0 not in range 1 to 9; see retort generate --help\n"},
  };
  for (const auto& c : cases) EXPECT_EQ(ErrorOf(c.words), c.want);
}

}  // namespace
}  // namespace retort
