// Whole runs with device cuda, on the fake GPU of tests/testing/fake_gpu_plugin.cc: every role's
// model on the device, weights from the learner to the rollout workers through device memory that
// they open, ranks that share the device. What is left to a real GPU are its kernels and CUDA.
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "e2e/retort_run.h"
#include "gmock/gmock.h"

namespace retort::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> Cuda(std::vector<std::string> roles) {
  std::vector<std::string> flags;
  for (const std::string& role : roles) {
    flags.push_back("--set");
    flags.push_back(absl::StrCat("cluster.", role, ".device=cuda"));
  }
  return flags;
}
std::vector<std::string> AllCuda() { return Cuda({"rollout", "scorer", "learner"}); }

std::string LogOf(const SmallRun& run, const std::string& worker) {
  const auto text = ReadFile(absl::StrCat(run.folder(), "/logs/", worker, ".log"), 1 << 24);
  return text.ok() ? *text : text.status().ToString();
}

class GpuRunTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string plugin =
        absl::StrCat(std::getenv("RETORT_BIN_DIR"), "/../tests/libretort_fake_gpu_plugin.so");
    setenv("RETORT_GPU_PLUGIN", plugin.c_str(), 1);
  }
  void TearDown() override { unsetenv("RETORT_GPU_PLUGIN"); }
};

// The kernels differ, so the bits do; the numbers must not.
void ExpectClose(const std::vector<v1::StepRecord>& a, const std::vector<v1::StepRecord>& b,
                 double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    for (const char* name : {"loss/policy_avg", "loss/value_avg", "objective/kl", "grad_norm"}) {
      const auto in_a = a[i].scalars().find(name), in_b = b[i].scalars().find(name);
      if (in_a == a[i].scalars().end()) continue;
      ASSERT_NE(in_b, b[i].scalars().end()) << name;
      EXPECT_NEAR(in_a->second, in_b->second, tolerance) << name << " of step " << i;
    }
  }
}

TEST_F(GpuRunTest, Ppo_AllRolesOnTheGpu_TwiceTheSameWeightsAndTheCpusNumbers) {
  JobOptions options;
  options.rollout_workers = 2;
  SmallRun one("gpu-one", options), two("gpu-two", options), cpu("gpu-cpu", options);
  ASSERT_EQ(one.Start(AllCuda()), 0) << one.output();
  ASSERT_EQ(two.Start(AllCuda()), 0) << two.output();
  EXPECT_EQ(one.FinalWeights(), two.FinalWeights());
  EXPECT_THAT(LogOf(one, "rollout-1"), HasSubstr("transport=\"GPU memory (CUDA IPC)\""));
  ASSERT_EQ(cpu.Start(), 0) << cpu.output();
  EXPECT_NE(one.FinalWeights(), cpu.FinalWeights());
  ExpectClose(one.Steps(), cpu.Steps(), 1e-3);
}

TEST_F(GpuRunTest, Ppo_OneStepOff_TwoRanksOnOneGpu_OverShm_SameAsOneRank) {
  JobOptions options = Lag(1);
  SmallRun alone("gpu-alone", options);
  ASSERT_EQ(alone.Start(AllCuda()), 0) << alone.output();
  options.learner_ranks = 2;
  std::vector<std::string> flags = AllCuda();
  SmallRun refused("gpu-two-ranks-nccl", options);
  EXPECT_EQ(refused.Start(flags), 2) << refused.output();
  EXPECT_THAT(refused.output(), HasSubstr("NCCL takes one rank on each"));
  flags.insert(flags.end(), {"--set", "cluster.learner.collective=shm"});
  SmallRun both("gpu-two-ranks", options);
  ASSERT_EQ(both.Start(flags), 0) << both.output();
  ExpectClose(both.Steps(), alone.Steps(), 1e-3);
}

// Weights go through host memory where only one side has a GPU.
TEST_F(GpuRunTest, Ppo_LearnerOrRolloutAloneOnTheGpu_ThroughHostMemory) {
  JobOptions options;
  options.steps = 3;
  SmallRun cpu("mixed-cpu", options);
  ASSERT_EQ(cpu.Start(), 0) << cpu.output();
  for (const char* role : {"learner", "rollout", "scorer"}) {
    SmallRun run(absl::StrCat("mixed-", role), options);
    ASSERT_EQ(run.Start(Cuda({role})), 0) << role << run.output();
    EXPECT_THAT(LogOf(run, "rollout-0"), HasSubstr("transport=\"host memory\""));
    ExpectClose(run.Steps(), cpu.Steps(), 1e-3);
  }
}

TEST_F(GpuRunTest, Ppo_Bfloat16_RepeatsAndRolesAgree) {
  JobOptions options;
  std::vector<std::string> flags = AllCuda();
  flags.insert(flags.end(), {"--set", "policy.dtype=bfloat16"});
  SmallRun one("half-one", options), two("half-two", options), wide("half-wide", options);
  ASSERT_EQ(one.Start(flags), 0) << one.output();
  ASSERT_EQ(two.Start(flags), 0) << two.output();
  ASSERT_EQ(wide.Start(AllCuda()), 0) << wide.output();
  EXPECT_EQ(one.FinalWeights(), two.FinalWeights());
  EXPECT_NE(one.FinalWeights(), wide.FinalWeights());
  // Rollout workers and learner round alike: what a cache gives is near what a whole sequence
  // gives.
  for (const v1::StepRecord& step : one.Steps()) {
    EXPECT_LT(step.scalars().at("sampling/sampling_logp_difference/max"), 0.1) << step.step();
    EXPECT_GT(step.scalars().at("sampling/sampling_logp_difference/max"), 0) << step.step();
  }
}

TEST_F(GpuRunTest, Ppo_AnyRoleKilled_SameWeights) {
  JobOptions options = Lag(1);
  options.rollout_workers = 2;
  SmallRun undisturbed("gpu-undisturbed", options);
  ASSERT_EQ(undisturbed.Start(AllCuda()), 0) << undisturbed.output();
  const std::pair<const char*, const char*> kills[] = {{"learner-0", "learner.micro_batch=kill@4"},
                                                       {"rollout-1", "rollout.generate=kill@3"},
                                                       {"rollout-0", "rollout.after_report=kill@2"},
                                                       {"scorer-0", "scorer.micro_batch=kill@2"}};
  for (const auto& [worker, kill] : kills) {
    std::vector<std::string> flags = AllCuda();
    flags.insert(flags.end(), {"--failpoint", absl::StrCat(worker, ":", kill)});
    SmallRun run(absl::StrCat("gpu-killed-", worker), options);
    ASSERT_EQ(run.Start(flags), 0) << kill << run.output();
    EXPECT_EQ(run.FinalWeights(), undisturbed.FinalWeights()) << kill;
    EXPECT_GE(run.Respawns(worker), 1) << kill;
  }
}

// The ranks start again, and rollout workers read the new learner 0's memory.
TEST_F(GpuRunTest, Ppo_OneOfTwoRanksKilled_SameWeights) {
  JobOptions options;
  options.learner_ranks = 2;
  std::vector<std::string> flags = AllCuda();
  flags.insert(flags.end(), {"--set", "cluster.learner.collective=shm"});
  SmallRun undisturbed("gpu-ranks", options), run("gpu-rank-killed", options);
  ASSERT_EQ(undisturbed.Start(flags), 0) << undisturbed.output();
  flags.insert(flags.end(), {"--failpoint", "learner-1:learner.micro_batch=kill@4"});
  ASSERT_EQ(run.Start(flags), 0) << run.output();
  EXPECT_EQ(run.FinalWeights(), undisturbed.FinalWeights());
  EXPECT_EQ(run.Respawns("learner-1"), 1);
  // Nobody waits for a reader of its own.
  EXPECT_THAT(LogOf(run, "learner-0"), Not(HasSubstr("closed badly")));
}

TEST_F(GpuRunTest, Sft_WithLora_OnTheGpu_ExportsAModel) {
  JobOptions options;
  options.algorithm = "sft";
  options.policy = "lora: {rank: 4, target_modules: [all-linear]}";
  SmallRun run("gpu-lora", options);
  ASSERT_EQ(run.Start(Cuda({"learner", "rollout"})), 0) << run.output();
  EXPECT_TRUE(FileExists(run.folder() + "/model/model.safetensors"));
  EXPECT_TRUE(FileExists(run.folder() + "/adapter/adapter_model.safetensors"));
}

}  // namespace
}  // namespace retort::e2e
