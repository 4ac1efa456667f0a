// How the loop starts and ends the agent; tests put agents of their own here.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace retort::driver {

class AgentLauncher {
 public:
  virtual ~AgentLauncher() = default;
  // Starts an agent that will say hello with this incarnation. Only when none is running.
  virtual absl::Status Launch(const std::string& incarnation) = 0;
  virtual void Kill() = 0;
  // How it ended, once: "killed by signal 9". Does not wait.
  virtual std::optional<std::string> TakeEnd() = 0;
  // Waits for the end, at most `timeout`; true if none is running.
  virtual bool Await(absl::Duration timeout) = 0;
};

}  // namespace retort::driver
