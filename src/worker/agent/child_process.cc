#include "worker/agent/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/file.h"

extern char** environ;

namespace retort::worker {
namespace {

// What posix_spawn is told beyond program and arguments; frees the C structures.
class SpawnSettings {
 public:
  explicit SpawnSettings(const std::string& log_file) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, 1, log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0644);
    posix_spawn_file_actions_adddup2(&actions_, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

absl::string_view NameOf(absl::string_view variable) {
  return variable.substr(0, variable.find('='));
}

std::vector<std::string> Environment(const std::vector<std::string>& replacements) {
  std::vector<std::string> environment = replacements;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    bool replaced = false;
    for (const std::string& replacement : replacements) {
      replaced = replaced || NameOf(*variable) == NameOf(replacement);
    }
    if (!replaced) environment.emplace_back(*variable);
  }
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Spawn(const ChildCommand& command) {
  RETORT_CHECK(!command.arguments.empty());
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = Environment(command.environment);
  const SpawnSettings settings(command.log_file);
  pid_t pid;
  const int error =
      posix_spawn(&pid, arguments[0].c_str(), settings.actions(), settings.attributes(),
                  Pointers(arguments).data(), Pointers(environment).data());
  if (error != 0) {
    return ErrnoError(error, absl::StrCat("start ", arguments[0], " with log ", command.log_file));
  }
  // The child is ours and not reaped yet, so the pid cannot have been reused.
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  ChildProcess child(pid, std::move(pidfd));
  if (child.pidfd_.valid()) return child;
  return ErrnoError(errno, "pidfd_open (Linux 5.3 or newer is needed)");
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    KillAndReap();
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

ChildProcess::~ChildProcess() { KillAndReap(); }

void ChildProcess::Signal(int signal) const {
  if (pid_ != 0) kill(pid_, signal);
}

ChildExit ChildProcess::Reap() {
  siginfo_t info = {};
  while (waitid(P_PID, pid_, &info, WEXITED) != 0) {
    RETORT_CHECK(errno == EINTR) << "waitid " << pid_ << " errno " << errno;
  }
  pid_ = 0;
  if (info.si_code == CLD_EXITED) return {.exit_code = info.si_status, .signal = 0};
  return {.exit_code = -1, .signal = info.si_status};
}

void ChildProcess::KillAndReap() {
  if (pid_ == 0) return;
  Signal(SIGKILL);
  Reap();
}

}  // namespace retort::worker
