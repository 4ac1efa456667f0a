// Rollout workers that count as on another host than the learner: they fetch the policy's weights
// over gRPC and make the same bits. Workers are started one by one, as on several machines.
#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A driver that waits for workers, and the workers that were started for it.
class ExternalRun {
 public:
  ExternalRun(const std::string& name, const JobOptions& options) : run_(name, options) {
    driver_ = run_.Launch({"--workers=external", "--listen", address_});
    EXPECT_TRUE(WaitFor([this] { return FileExists(run_.folder() + "/token"); }));
  }

  // Starts `role`-`index`; an empty `host` is this machine's own identity.
  void StartWorker(const std::string& role, int index, const std::string& host = "") {
    const std::string name = absl::StrCat(role, "-", index);
    std::vector<std::string> command = {
        Program("retort-worker"), "--role",     role,       "--index",
        absl::StrCat(index),      "--driver",   address_,   "--token-file",
        run_.folder() + "/token", "--log-file", LogOf(name)};
    if (!host.empty()) command.push_back("--host-identity=" + host);
    workers_.erase(name);  // Kills the process before, if there is one.
    workers_[name] = std::make_unique<ChildProcess>(command);
  }
  // The exit status of a worker that ends by itself.
  int EndOf(const std::string& role, int index) {
    return workers_.at(absl::StrCat(role, "-", index))->Wait();
  }
  // The exit status of the driver; the workers have ended when it returns.
  int Wait() {
    const int status = driver_->Wait();
    for (const auto& [name, worker] : workers_) worker->Wait();
    return status;
  }
  const std::string& output() const { return driver_->output(); }
  std::string LogText(const std::string& worker) const {
    return ReadFile(LogOf(worker), 1 << 24).value_or("");
  }
  const SmallRun& run() const { return run_; }

 private:
  std::string LogOf(const std::string& worker) const {
    return absl::StrCat(run_.folder(), "/logs/", worker, ".log");
  }

  SmallRun run_;
  const std::string address_ = FreeAddress();
  std::unique_ptr<ChildProcess> driver_;
  std::map<std::string, std::unique_ptr<ChildProcess>> workers_;
};

TEST(RemoteWeightsTest, RolloutWorkersElsewhere_SameWeightsAsOnOneHost) {
  JobOptions options;
  options.lag = 1;
  options.learner_ranks = 2;
  options.rollout_workers = 2;
  const std::string want = UndisturbedWeights(options);
  ExternalRun run("remote", options);
  run.StartWorker("learner", 0);
  run.StartWorker("learner", 1);
  run.StartWorker("scorer", 0);
  run.StartWorker("rollout", 0, "elsewhere");
  run.StartWorker("rollout", 1, "somewhere-else");
  EXPECT_EQ(run.Wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("final weights: " + want));
  const std::string logs = run.LogText("rollout-0") + run.LogText("rollout-1");
  for (int version = 0; version < options.steps - 1; ++version) {  // The lag leaves the last out.
    EXPECT_THAT(logs, HasSubstr(absl::StrCat("weights fetched version=", version, " ")));
  }
}

// Only the adapter travels: each worker has read the base itself.
TEST(RemoteWeightsTest, Adapter_RolloutWorkerElsewhere_SameWeightsAsOnOneHost) {
  JobOptions options;
  options.policy = "lora: {rank: 4}";
  options.learning_rate = 1e-2;
  const std::string want = UndisturbedWeights(options);
  ExternalRun run("remote-adapter", options);
  run.StartWorker("learner", 0);
  run.StartWorker("scorer", 0);
  run.StartWorker("rollout", 0, "elsewhere");
  EXPECT_EQ(run.Wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("final weights: " + want));
  EXPECT_THAT(run.LogText("rollout-0"), HasSubstr("base loaded "));
  EXPECT_THAT(run.LogText("rollout-0"), HasSubstr("weights fetched version=5 "));
}

TEST(RemoteWeightsTest, OneWorkerHereOneElsewhere_SameWeights) {
  JobOptions options;
  options.rollout_workers = 2;
  const std::string want = UndisturbedWeights(options);
  ExternalRun run("mixed", options);
  run.StartWorker("learner", 0);
  run.StartWorker("scorer", 0, "a-third-host");
  run.StartWorker("rollout", 0);
  run.StartWorker("rollout", 1, "elsewhere");
  EXPECT_EQ(run.Wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("final weights: " + want));
  EXPECT_THAT(run.LogText("rollout-0"), Not(HasSubstr("weights fetched")));
}

TEST(RemoteWeightsTest, LearnerKilled_WeightsComeFromItsSuccessor) {
  JobOptions options;
  options.rollout_workers = 2;
  const std::string want = UndisturbedWeights(options);
  ExternalRun run("successor", options);
  run.StartWorker("learner", 0);
  run.StartWorker("scorer", 0);
  run.StartWorker("rollout", 0, "elsewhere");
  run.StartWorker("rollout", 1);
  ASSERT_TRUE(WaitFor([&] { return run.run().Commits() >= 1; }));
  run.StartWorker("learner", 0);
  EXPECT_EQ(run.Wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("final weights: " + want));
  EXPECT_GE(run.run().Respawns("learner-0"), 1);
  EXPECT_EQ(run.run().Respawns("rollout-0"), 0);
  EXPECT_EQ(run.run().Respawns("rollout-1"), 0);
}

// Paths are the same on every host; what they hold must be so too.
TEST(RemoteWeightsTest, WorkerWithOtherFilesThanTheDriver_EndsAndSaysWhich) {
  JobOptions options;
  const std::string want = UndisturbedWeights(options);
  ExternalRun run("other-files", options);
  const std::string changed = TaskFolder() + "/model/chat_template.jinja";
  ASSERT_TRUE(WriteFileDurably(changed, "{{ messages }}").ok());
  run.StartWorker("scorer", 0);
  EXPECT_EQ(run.EndOf("scorer", 0), 2);
  EXPECT_THAT(run.LogText("scorer-0"), HasSubstr("put the same files at this path on every host"));
  ASSERT_TRUE(RemoveRecursively(changed).ok());
  run.StartWorker("scorer", 0);
  run.StartWorker("learner", 0);
  run.StartWorker("rollout", 0);
  EXPECT_EQ(run.Wait(), 0) << run.output();
  // Whoever started the worker elsewhere may not see its log.
  EXPECT_THAT(run.output(), HasSubstr("scorer-0 was ended: work failed: policy.config"));
  EXPECT_THAT(run.output(), HasSubstr("waiting until it is started again"));
  EXPECT_THAT(run.output(), HasSubstr("final weights: " + want));
}

TEST(RemoteWeightsTest, LearnersOnTwoHosts_SharedMemoryIsRefused) {
  JobOptions options;
  options.learner_ranks = 2;
  ExternalRun run("two-learner-hosts", options);
  run.StartWorker("learner", 0);
  run.StartWorker("learner", 1, "elsewhere");
  EXPECT_NE(run.Wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("learner-1 on host elsewhere"));
  EXPECT_THAT(run.output(), HasSubstr("deploy/mpirun.sh"));
}

}  // namespace
}  // namespace retort::e2e
