// One spawned process, watched by a pidfd. Internal to agent/.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace retort::worker {

struct ChildCommand {
  std::vector<std::string> arguments;    // arguments[0] is the program's path.
  std::vector<std::string> environment;  // NAME=VALUE, replacing those of this process.
  std::string log_file;                  // stdout and stderr are appended to it.
};

// How a process ended: exactly one of the two is meaningful.
struct ChildExit {
  int exit_code = -1;  // -1 if a signal killed it.
  int signal = 0;
};

// Not thread-safe. Destroying it kills and reaps the process.
class ChildProcess {
 public:
  // posix_spawn from the calling thread, which must live as long as the child (PR_SET_PDEATHSIG).
  // The child inherits no descriptor but 0-2, has no signal blocked and ignores what this process
  // ignores. Errors name the program or the log file.
  static absl::StatusOr<ChildProcess> Spawn(const ChildCommand& command);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  int exit_fd() const { return pidfd_.get(); }  // Readable once it has ended.
  void Signal(int signal) const;                // Nothing happens once it was reaped.
  ChildExit Reap();                             // Waits for the end. Call once.

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void KillAndReap();

  pid_t pid_ = 0;  // 0 once reaped.
  UniqueFd pidfd_;
};

}  // namespace retort::worker
