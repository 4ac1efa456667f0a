#include "driver/cli/worker_tools.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace retort::driver {

absl::Status ExecWorkerTool(const std::vector<std::string>& arguments) {
  const std::string program = absl::StrCat(ExecutableDirectory(), "/retort-worker");
  if (!FileExists(program)) {
    return absl::NotFoundError(
        absl::StrCat(program, " is missing; it belongs beside retort (build it: deploy/build.sh)"));
  }
  // The name that the tool shows: it is a command of `retort` to whoever called it.
  char name[] = "retort";
  std::vector<char*> argv = {name};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  return ErrnoError(errno, absl::StrCat("start ", program));
}

}  // namespace retort::driver
