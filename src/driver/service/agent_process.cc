#include "driver/service/agent_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"

namespace retort::driver {

AgentProcess::~AgentProcess() {
  if (pid_ == 0) return;
  Kill();
  int status = 0;
  waitpid(pid_, &status, 0);
}

absl::Status AgentProcess::Launch(const std::string& incarnation) {
  if (!FileExists(options_.program)) {
    return absl::NotFoundError(absl::StrCat(
        options_.program, " does not exist; retort-worker must lie beside retort (build both)"));
  }
  std::vector<std::string> arguments = {options_.program,
                                        "--role=agent",
                                        "--incarnation=" + incarnation,
                                        "--driver=" + options_.driver_address,
                                        "--token-file=" + options_.token_file,
                                        "--log-file=" + options_.log_file,
                                        absl::StrCat("--parent-pid=", getpid())};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, options_.log_file.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  const int error =
      posix_spawn(&pid_, options_.program.c_str(), &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error == 0) return absl::OkStatus();
  pid_ = 0;
  return ErrnoError(error, absl::StrCat("starting ", options_.program));
}

std::optional<std::string> AgentProcess::TakeEnd() {
  int status = 0;
  if (pid_ == 0 || waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = 0;
  if (WIFSIGNALED(status)) return absl::StrCat("killed by signal ", WTERMSIG(status));
  return absl::StrCat("exit code ", WEXITSTATUS(status));
}

void AgentProcess::Kill() {
  if (pid_ != 0) kill(pid_, SIGKILL);
}

bool AgentProcess::Await(absl::Duration timeout) {
  const absl::Duration deadline = Clock::Real()->Now() + timeout;
  while (pid_ != 0 && !TakeEnd().has_value()) {
    if (Clock::Real()->Now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace retort::driver
