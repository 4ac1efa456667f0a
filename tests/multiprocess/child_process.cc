#include "multiprocess/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <utility>

#include "common/base/check.h"

extern char** environ;

namespace retort {

ChildProcess::ChildProcess(const std::vector<std::string>& arguments) {
  int ends[2];
  RETORT_CHECK(pipe2(ends, O_CLOEXEC) == 0) << "pipe";
  from_child_ = UniqueFd(ends[0]);
  const UniqueFd to_parent(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to_parent.get(), STDOUT_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int error = posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  RETORT_CHECK(error == 0) << "cannot start " << arguments[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

bool ChildProcess::Ended() const {
  siginfo_t info{};
  RETORT_CHECK(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0)
      << "waitid";
  return info.si_pid != 0;
}

int ChildProcess::Wait() {
  char part[4096];
  ssize_t got;
  while ((got = read(from_child_.get(), part, sizeof(part))) > 0) {
    output_.append(part, static_cast<size_t>(got));
  }
  int status = 0;
  RETORT_CHECK(waitpid(std::exchange(pid_, -1), &status, 0) > 0) << "waitpid";
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace retort
