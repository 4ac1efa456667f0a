// Whole runs that train an adapter. What is said of the weights holds of the adapter's.
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using ::testing::HasSubstr;

JobOptions Adapter(const std::string& algorithm, int lag = 0) {
  JobOptions options;
  options.algorithm = algorithm;
  options.lag = lag;
  options.policy = "lora: {rank: 4, alpha: 8, target_modules: [q_proj, v_proj, gate_proj]}";
  options.learning_rate = 1e-2;
  return options;
}

int64_t BytesOf(const std::string& path) { return FileSize(path).value_or(-1); }

TEST(LoraTest, Ppo_AgainWithThreeWorkers_SameWeights) {
  for (const int lag : {0, 1}) {
    JobOptions options = Adapter("ppo", lag);
    const std::string want = UndisturbedWeights(options);
    options.rollout_workers = 3;
    SmallRun run(absl::StrCat("lora-ppo-", lag), options);
    ASSERT_EQ(run.Start(), 0) << run.output();
    EXPECT_EQ(run.FinalWeights(), want);
    for (const v1::StepRecord& step : run.Steps()) {
      EXPECT_GT(step.scalars().at("grad_norm"), 0) << step.step();
    }
  }
  EXPECT_NE(UndisturbedWeights(Adapter("ppo", 0)), UndisturbedWeights(Adapter("ppo", 1)));
}

TEST(LoraTest, Sft_RunLeavesAdapterAndMergedModel) {
  SmallRun run("lora-sft", Adapter("sft"));
  ASSERT_EQ(run.Start(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(Adapter("sft")));
  const std::string adapter = run.folder() + "/adapter";
  EXPECT_TRUE(FileExists(adapter + "/adapter_config.json"));
  // The checkpoints hold the adapter and its moments, no model.
  const int64_t model = BytesOf(run.folder() + "/model/model.safetensors");
  const int64_t trained = BytesOf(adapter + "/adapter_model.safetensors");
  const int64_t shard = BytesOf(run.folder() + "/checkpoints/step-6/shard-0-of-1.safetensors");
  EXPECT_GT(trained, 0);
  EXPECT_GT(shard, 2 * trained);
  EXPECT_LT(shard, model / 2);

  ChildProcess generate({Program("retort-worker"), "generate", "--model", run.folder() + "/model",
                         "--prompt", "314205=", "--temperature", "0", "--max-new-tokens", "4"});
  EXPECT_EQ(generate.Wait(), 0) << generate.output();

  // The merged model and the adapter are what another job can start from.
  JobOptions next = Adapter("ppo");
  next.model = run.folder() + "/model";
  next.policy = absl::StrCat("lora: {path: ", adapter, "}");
  next.steps = 2;
  SmallRun again("lora-next", next);
  ASSERT_EQ(again.Start(), 0) << again.output();
  // The reference is what training started from: nothing has moved away from it yet.
  EXPECT_NEAR(again.Steps().at(0).scalars().at("objective/kl"), 0, 1e-3);
}

TEST(LoraTest, Sft_TwoRanksKilledAndResumed_SameWeights) {
  JobOptions options = Adapter("sft");
  options.learner_ranks = 2;
  const std::string want = UndisturbedWeights(options);
  SmallRun run("lora-sft-resumed", options);
  EXPECT_EQ(run.Start({"--failpoint", "driver:driver.journal.before_commit=kill@4"}),
            128 + SIGKILL);
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), want);
}

TEST(LoraTest, Ppo_KilledMidRunAndResumed_SameWeights) {
  JobOptions options = Adapter("ppo", 1);
  options.steps = 12;
  SmallRun run("lora-ppo-resumed", options);
  const std::unique_ptr<ChildProcess> child = run.Launch();
  ASSERT_TRUE(WaitFor([&] { return run.Commits() >= 3; }));
  ASSERT_EQ(kill(child->pid(), SIGKILL), 0);
  EXPECT_EQ(child->Wait(), 128 + SIGKILL);
  ASSERT_TRUE(WaitFor([&] { return run.Processes().empty(); }));
  ASSERT_EQ(run.Resume(), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(options));
}

// Rank 0: every weight is trained, and the run is that of a job without the section.
TEST(LoraTest, RankZero_IsFullFineTuning) {
  JobOptions options = Adapter("sft");
  SmallRun run("lora-off", options);
  ASSERT_EQ(run.Start({"--set", "policy.lora.rank=0"}), 0) << run.output();
  options.policy = "";
  EXPECT_EQ(run.FinalWeights(), UndisturbedWeights(options));
  EXPECT_FALSE(FileExists(run.folder() + "/adapter"));
}

}  // namespace
}  // namespace retort::e2e
