// Stands in for retort-worker in the agent's tests: prints what it was started with, then does what
// --failpoint says:
//   exit=N     exits with N
//   wait       waits for a signal
//   stubborn   waits and ignores SIGTERM
//   session    attaches a DriverSession to --driver and, once welcomed, reports progress and
//              takes commands until asked to stop
//   agent      is itself an agent: runs RunAgent with the flags --driver, --token-file,
//   --incarnation
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "worker/agent/agent.h"
#include "worker/agent/driver_session.h"
#include "worker/agent/exit_code.h"
#include "worker/agent/parent_death.h"
#include "worker/agent/termination.h"

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i < argc; ++i) {
    std::printf("argument %s\n", argv[i]);
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    flags[argument.substr(0, equals)] =
        equals == std::string::npos ? "" : argument.substr(equals + 1);
  }
  for (const char* name : {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "RETORT_TEST_INHERITED"}) {
    const char* value = std::getenv(name);
    std::printf("%s %s\n", name, value == nullptr ? "-" : value);
  }
  const std::vector<std::string> descriptors =
      retort::ListDirectory("/proc/self/fd").value_or(std::vector<std::string>());
  for (const std::string& fd : descriptors) {
    if (std::stoi(fd) > 3)
      std::printf("leaked descriptor %s\n", fd.c_str());  // 3 is the listing's own.
  }
  std::fflush(stdout);
  std::fprintf(stderr, "on stderr\n");
  retort::worker::DieWithParent(std::atoll(flags["--parent-pid"].c_str()));
  const std::string act = flags["--failpoint"];
  if (act == "agent") {
    retort::worker::PrepareTerminationSignals();
    const absl::Status status = retort::worker::RunAgent({.worker_binary = "/proc/self/exe",
                                                          .driver_address = flags["--driver"],
                                                          .token_file = flags["--token-file"],
                                                          .incarnation = flags["--incarnation"]});
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return retort::worker::ExitCodeFor(status);
  }
  if (act == "session") {
    retort::worker::PrepareTerminationSignals();
    auto session = retort::worker::DriverSession::Connect(
        {.driver_address = flags["--driver"],
         .token = *retort::rpc::AccessToken::ReadFile(flags["--token-file"]),
         .incarnation = flags["--incarnation"],
         .role = retort::v1::ROLE_SCORER});
    if (!session.ok()) return retort::worker::ExitCodeFor(session.status());
    (*session)->ReportProgress({}, 1);
    auto command = (*session)->NextCommand();
    while (command.ok() && command->has_value()) command = (*session)->NextCommand();
    return (*session)->Finish(command.status());
  }
  if (act.rfind("exit=", 0) == 0) return std::atoi(act.c_str() + 5);
  if (act == "stubborn") signal(SIGTERM, SIG_IGN);
  std::printf("ready\n");
  std::fflush(stdout);
  while (true) pause();
}
