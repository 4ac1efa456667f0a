// A child process with its output in a string. For tests.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/base/unique_fd.h"

namespace retort {

// Kills and collects the child when destroyed.
class ChildProcess {
 public:
  // `arguments[0]` is the program, looked up in PATH. Standard output is captured, standard error
  // is shared.
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Reads to the end of its output and collects it. The exit status, or 128 + the signal that ended
  // it.
  int Wait();
  bool Ended() const;  // Wait would not wait for the process.
  const std::string& output() const { return output_; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  UniqueFd from_child_;
  std::string output_;
};

}  // namespace retort
