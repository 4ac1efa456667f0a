#include "common/base/command_line.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/printable.h"

namespace retort {
namespace {

std::vector<std::string> Commands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

// What is wrong, without the program's name and where to read more.
std::string Reason(const CLI::App& app, const CLI::App& command, const std::string& command_name,
                   const CLI::Error& error) {
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (!unknown.empty()) {
    const std::string word = Printable(unknown.front());
    if (absl::StartsWith(word, "-")) {
      return absl::StrCat(word.substr(0, word.find('=')), " is no option of ", command_name);
    }
    const std::vector<std::string> names = Commands(command);
    if (names.empty()) return absl::StrCat("\"", word, "\" is one word too many");
    return absl::StrCat(word, " is no command; expected one of ", absl::StrJoin(names, ", "));
  }
  if (!Commands(command).empty() && error.get_name() == "RequiredError") {
    return absl::StrCat("no command; expected one of ", absl::StrJoin(Commands(command), ", "));
  }
  return error.what();
}

}  // namespace

void FillStandardDescriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) != -1) continue;
    // The lowest free number: those below are taken by now.
    const int filled = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    RETORT_CHECK(filled == fd) << "descriptor " << fd << " became " << filled;
  }
}

void IgnoreFileSizeSignal() { signal(SIGXFSZ, SIG_IGN); }

std::string ParseErrorLine(const CLI::App& app, const CLI::Error& error) {
  const CLI::App* command = &app;
  std::string name = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    absl::StrAppend(&name, " ", command->get_name());
  }
  return absl::StrCat(app.get_name(), ": ", Reason(app, *command, name, error), "; see ", name,
                      " --help\n");
}

void SetUpCommandLine(const char* argv0, CLI::App& app) {
  const absl::string_view path = argv0;
  app.name(std::string(path.substr(path.rfind('/') + 1)));  // npos + 1 is 0.
  app.failure_message([](const CLI::App* parsed, const CLI::Error& error) {
    return ParseErrorLine(*parsed, error);
  });
}

}  // namespace retort
