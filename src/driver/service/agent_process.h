// The agent as a child process of the driver. It gets its own process group, so that Ctrl-C reaches
// the driver alone, which then ends everything in order. If the driver dies, the kernel kills the
// agent, and it its children.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "common/rpc/endpoint.h"
#include "driver/service/agent_launcher.h"

namespace retort::driver {

struct AgentProcessOptions {
  std::string program;  // retort-worker.
  std::string driver_address;
  std::string token_file;
  std::string log_file;  // Takes its stdout and stderr, too.
};

// Not thread-safe; Launch must be called on a thread that lives as long as the agent may (the main
// thread): PR_SET_PDEATHSIG fires when the thread that spawned the child ends.
class AgentProcess : public AgentLauncher {
 public:
  explicit AgentProcess(AgentProcessOptions options) : options_(std::move(options)) {}
  ~AgentProcess() override;  // Kills and reaps it.
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  // NOT_FOUND if the program does not exist.
  absl::Status Launch(const std::string& incarnation) override;
  void Kill() override;
  std::optional<std::string> TakeEnd() override;
  bool Await(absl::Duration timeout) override;

 private:
  const AgentProcessOptions options_;
  pid_t pid_ = 0;  // 0: none is running.
};

}  // namespace retort::driver
