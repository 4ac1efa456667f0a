// A plan on a host: what does not fit there, what a person is told.
#include <string>
#include <vector>

#include "common/job/plan_fixture.h"
#include "gmock/gmock.h"

namespace retort::job {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST_F(PlanTest, MakePlan_WhatThisHostOrBuildCannotRun_Refused) {
  struct Case {
    std::vector<std::string> overrides;
    const char* want;
  };
  const Case cases[] = {
      {{"cluster.learner.threads=5"},
       "--set cluster.learner.threads is 5 in one process; expected at "
       "most 4, the cores of this host"},
      {{"cluster.rollout.threads=5"}, "cluster.rollout.threads is 5"},
      {{"cluster.scorer.threads=5"}, "cluster.scorer.threads is 5"},
      {{"rewards.0={type: regex, pattern: '('}"}, "--set rewards.0: rewards.0.pattern: "},
      {{"algorithm.ppo.kl_penalty=full", "data.prompts_per_step=500000",
        "algorithm.ppo.horizon=1e6"},
       "algorithm.ppo.kl_penalty is full, which makes 4.5 GiB of reference log-probs a step "
       "(1000000 samples x 4 tokens x 301 ids); expected at most 4.0 GiB"},
  };
  for (const Case& c : cases) {
    std::vector<std::string> overrides = c.overrides;
    overrides.push_back("rollout.max_new_tokens=4");
    EXPECT_THAT(ErrorOf(kPpoJob, overrides), HasSubstr(c.want));
  }
  host_.free_disk_bytes = 1000;
  EXPECT_THAT(ErrorOf(kPpoJob, {"rollout.max_new_tokens=4"}),
              StartsWith("job.yaml:10:8: output.dir has 1000 B of free disk; expected "));
}

TEST_F(PlanTest, MakePlan_CudaWithoutAnyGpu_RefusedWithTheField) {
  const std::vector<std::string> short_ones = {"rollout.max_new_tokens=4"};
  for (const char* role : {"learner", "rollout", "scorer"}) {
    std::vector<std::string> overrides = short_ones;
    overrides.push_back(absl::StrCat("cluster.", role, ".device=cuda"));
    host_.gpus = [] { return std::vector<gpu::DeviceInfo>(); };
    EXPECT_EQ(ErrorOf(kPpoJob, overrides),
              absl::StrCat("--set cluster.", role,
                           ".device is cuda, but this host has no CUDA device (retort devices "
                           "lists them); expected cpu, or a host with an NVIDIA GPU and its "
                           "driver (or --workers=external)"));
    host_.gpus = [] { return absl::NotFoundError("there is no GPU plug-in"); };
    EXPECT_EQ(ErrorOf(kPpoJob, overrides),
              absl::StrCat("--set cluster.", role,
                           ".device is cuda, but there is no GPU plug-in; expected cpu on this "
                           "host (or --workers=external, for workers of others)"));
  }
}

TEST_F(PlanTest, MakePlan_Gpus_AskedForOnlyIfWantedAndSharedOutInTurn) {
  int asked = 0;
  host_.gpus = [&asked] {
    ++asked;
    return std::vector<gpu::DeviceInfo>{
        {.index = 0, .name = "One", .uuid = "a", .memory_bytes = 1000},
        {.index = 1, .name = "Two", .uuid = "b", .memory_bytes = int64_t{1} << 30}};
  };
  EXPECT_TRUE(Planned(kPpoJob, {"rollout.max_new_tokens=4"}).devices.empty());
  EXPECT_EQ(asked, 0);
  const Plan plan = Planned(kPpoJob, {"rollout.max_new_tokens=4", "cluster.rollout.device=cuda",
                                      "cluster.rollout.workers=3", "cluster.learner.device=cuda",
                                      "cluster.learner.ranks=1"});
  EXPECT_EQ(asked, 1);
  EXPECT_THAT(plan.devices,
              ElementsAre("rollout 0,2 on device 0 (One)", "learner 0 on device 0 (One)",
                          "rollout 1 on device 1 (Two)"));
  EXPECT_THAT(plan.notes, Contains(StartsWith("device 0 (One) has 1000 B of memory; its workers")));
  EXPECT_THAT(plan.notes, Not(Contains(StartsWith("device 1"))));
  EXPECT_THAT(Describe(plan), HasSubstr("GPUs          rollout 0,2 on device 0 (One), learner 0"));
}

TEST_F(PlanTest, MakePlan_MoreRanksThanGpus_OnlyThroughTheHost) {
  host_.gpus = [] {
    return std::vector<gpu::DeviceInfo>{
        {.index = 0, .name = "One", .uuid = "a", .memory_bytes = int64_t{1} << 30}};
  };
  std::vector<std::string> overrides = {"rollout.max_new_tokens=4", "cluster.learner.device=cuda",
                                        "cluster.learner.ranks=2"};
  EXPECT_THAT(ErrorOf(kPpoJob, overrides),
              HasSubstr("cluster.learner.ranks is 2 on a host with 1 GPU, and NCCL takes one rank "
                        "on each; expected at most 1, or collective: shm"));
  overrides.push_back("cluster.learner.collective=shm");
  const Plan plan = Planned(kPpoJob, overrides);
  EXPECT_THAT(plan.devices, ElementsAre("learner 0,1 on device 0 (One)"));
  EXPECT_EQ(plan.gradients,
            "2 ranks, summed over shared memory, through pinned memory of the host");
}

TEST_F(PlanTest, MakePlan_WorkersElsewhere_CudaIsTheirsToCheck) {
  host_.gpus = nullptr;
  EXPECT_THAT(Planned(kPpoJob, {"rollout.max_new_tokens=4", "cluster.learner.device=cuda"}).notes,
              Contains("device cuda: each worker's host is checked when the worker starts"));
}

TEST_F(PlanTest, MakePlan_FreeDisk_FullIsNotUnknownAndCheckpointsThatAreThereCount) {
  const std::vector<std::string> overrides = {"rollout.max_new_tokens=4"};
  host_.free_disk_bytes = 0;
  EXPECT_THAT(ErrorOf(kPpoJob, overrides),
              StartsWith("job.yaml:10:8: output.dir has 0 B of free disk; expected "));
  host_.checkpoint_bytes = int64_t{1} << 40;
  EXPECT_THAT(ErrorOf(kPpoJob, overrides), HasSubstr("expected 0 B for "))
      << "the model is to come";
  host_.free_disk_bytes = int64_t{1} << 20;
  const auto job = ParseJob(kPpoJob, "job.yaml", folder_, overrides);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(MakePlan(job->spec, job->positions, host_).ok());
  host_.free_disk_bytes = std::nullopt;
  host_.checkpoint_bytes = 0;
  EXPECT_TRUE(MakePlan(job->spec, job->positions, host_).ok());
}

TEST_F(PlanTest, MakePlan_WhatAUserShouldKnow_IsANote) {
  struct Case {
    std::vector<std::string> overrides;
    const char* want;
  };
  const Case cases[] = {
      {{"cluster.rollout.workers=9"}, "oversubscribed: 11 threads on 4 cores"},
      {{"data.prompts_per_step=32"}, "a step draws 32 rows of 20: rows repeat inside a step"},
      {{"data.validation=validation.jsonl"}, "data.validation is not evaluated: eval.every is 0"},
      {{"cluster.learner.ranks=5", "algorithm.ppo.mini_batch_size=4"},
       "5 learner ranks share 4 samples an update"},
      {{"cluster.rollout.workers=2"}, "2 rollout workers share 1 bundles a step"},
      {{"cluster.learner.collective=mpi"}, "collective mpi: start the workers with mpirun"},
      {{"algorithm.ppo.kl_penalty=full"},
       "kl_penalty full: reference artifacts of 75.2 KiB a step"},
      {{"rollout.max_batch=65536", "cluster.rollout.workers=200"}, "all processes together want"},
  };
  for (const Case& c : cases) {
    std::vector<std::string> overrides = c.overrides;
    overrides.push_back("rollout.max_new_tokens=4");
    EXPECT_THAT(Planned(kPpoJob, overrides).notes, Contains(HasSubstr(c.want)));
  }
  EXPECT_THAT(Planned(kPpoJob, {"rollout.max_new_tokens=4"}).notes, testing::IsEmpty());
}

TEST_F(PlanTest, Describe_Plan_ShowsRolesBytesAndNotes) {
  const std::string text = Describe(
      Planned(kPpoJob, {"rollout.max_new_tokens=4", "algorithm.lag=1", "cluster.rollout.workers=5",
                        "data.validation=validation.jsonl", "eval.every=20"}));
  for (const char* want :
       {"sort (ppo)\n", "  steps         60, each 8 prompts, 16 samples, 4 optimizer updates\n",
        "20 rows, 24 passes; longest prompt 6 tokens, longest sequence 10 of 64",
        "1 bundle a step; step k uses policy version max(0, k - 1); importance sampling applied",
        "  rewards       exact_match x 1, length x 0.5\n", "4 of 20 rows in 1 bundle",
        "3 versions x ", "  rollout            5         1", "KV cache", "moments", "on 4 cores",
        "notes\n  - ", "oversubscribed: 7 threads on 4 cores"}) {
    EXPECT_THAT(text, HasSubstr(want)) << text;
  }
}

TEST_F(PlanTest, PlanCommand_OutputDirIsAFile_Refused) {
  Write("job.yaml", kPpoJob);
  Write("file", "");
  const std::vector<std::string> overrides = {"rollout.max_new_tokens=4", "output.dir=file"};
  const auto text = PlanCommand(folder_ + "/job.yaml", overrides);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("/file is not a folder"));
}

TEST_F(PlanTest, PlanCommand_File_PrintsThePlan) {
  Write("job.yaml", kPpoJob);
  const std::vector<std::string> overrides = {"rollout.max_new_tokens=4"};
  const auto text = PlanCommand(folder_ + "/job.yaml", overrides);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, StartsWith("sort (ppo)\n"));
  EXPECT_THAT(std::string(PlanCommand(folder_ + "/job.yaml", {}).status().message()),
              HasSubstr("job.yaml:1:1: rollout.max_new_tokens is 128; expected less than "));
}

TEST(HostFactsTest, ThisHost_FolderThatIsNotThereYet_ItsDisk) {
  const HostFacts host = ThisHost(testing::TempDir() + "/not/there/yet");
  EXPECT_GE(host.cores, 1);
  EXPECT_GT(host.memory_bytes, 0);
  EXPECT_GT(host.free_disk_bytes.value_or(0), 0);
  EXPECT_EQ(host.checkpoint_bytes, 0);
}

TEST_F(PlanTest, ThisHost_FolderOfARun_CountsItsCheckpoints) {
  ASSERT_TRUE(MakeDirectories(folder_ + "/run/checkpoints/step-2").ok());
  Write("run/checkpoints/step-2/policy", "12345");
  EXPECT_EQ(ThisHost(folder_ + "/run").checkpoint_bytes, 5);
}

}  // namespace
}  // namespace retort::job
