#include "worker/agent/child_command.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

using ::testing::ElementsAre;

ChildLaunch Launch() {
  return {.worker_binary = "/bin/retort-worker",
          .driver_address = "127.0.0.1:7070",
          .token_file = "/run/token",
          .run_dir = "/run",
          .extra_arguments = {"--verbose"},
          .parent_pid = 42};
}

v1::SpawnChild Request() {
  v1::SpawnChild request;
  request.set_worker("rollout-1");
  request.set_role(v1::ROLE_ROLLOUT);
  request.set_index(1);
  request.set_incarnation(std::string(32, 'a'));
  request.set_threads(2);
  request.add_failpoints("rollout.generate=kill@3");
  return request;
}

TEST(ChildCommandTest, Make_Request_ArgumentsEnvironmentLog) {
  const absl::StatusOr<ChildCommand> command = MakeChildCommand(Launch(), Request());
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_THAT(
      command->arguments,
      ElementsAre("/bin/retort-worker", "--role=rollout", "--index=1",
                  "--incarnation=" + std::string(32, 'a'), "--driver=127.0.0.1:7070",
                  "--token-file=/run/token", "--threads=2", "--log-file=/run/logs/rollout-1.log",
                  "--parent-pid=42", "--failpoint=rollout.generate=kill@3", "--verbose"));
  EXPECT_THAT(command->environment, ElementsAre("OMP_NUM_THREADS=2", "OMP_WAIT_POLICY=passive"));
  EXPECT_EQ(command->log_file, "/run/logs/rollout-1.log");
}

TEST(ChildCommandTest, Make_FieldOutOfBounds_InvalidArgument) {
  const std::function<void(v1::SpawnChild*)> damages[] = {
      [](v1::SpawnChild* r) { r->clear_worker(); },
      [](v1::SpawnChild* r) { r->set_worker("../../etc/passwd"); },
      [](v1::SpawnChild* r) { r->set_worker(std::string(65, 'w')); },
      [](v1::SpawnChild* r) { r->set_role(v1::ROLE_AGENT); },
      [](v1::SpawnChild* r) { r->clear_role(); },
      [](v1::SpawnChild* r) { r->set_index(-1); },
      [](v1::SpawnChild* r) { r->set_incarnation("x"); },
      [](v1::SpawnChild* r) { r->set_threads(0); },
      [](v1::SpawnChild* r) { r->set_threads(1025); },
      [](v1::SpawnChild* r) {
        for (int i = 0; i < 65; ++i) r->add_failpoints("a=kill");
      },
  };
  for (const auto& damage : damages) {
    v1::SpawnChild request = Request();
    damage(&request);
    EXPECT_EQ(MakeChildCommand(Launch(), request).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace retort::worker
