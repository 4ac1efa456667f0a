#include "common/job/plan.h"

#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/job/job_text.h"
#include "common/text/tokenizer_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::job {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kConfig[] = R"({"model_type": "llama", "vocab_size": 301, "hidden_size": 16,
  "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 64,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 299,
  "eos_token_id": 300})";

// A folder with a model, data and the jobs of job_text.h.
class PlanTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = ResolvePath(testing::TempDir(), absl::StrCat("plan_test.", getpid()));
    ASSERT_TRUE(RemoveRecursively(folder_).ok());
    for (const char* model : {"models/start", "models/tiny", "models/ref"}) {
      ASSERT_TRUE(MakeDirectories(absl::StrCat(folder_, "/", model)).ok());
      Write(absl::StrCat(model, "/config.json"), kConfig);
      Write(absl::StrCat(model, "/tokenizer.json"), text::ByteLevelFile().dump());
    }
    Write("models/start/model.safetensors", "weights");
    Write("models/ref/model.safetensors", "weights");
    std::string rows;
    for (int i = 0; i < 20; ++i) {
      absl::StrAppend(&rows, "{\"prompt\": \"", std::string(1 + i % 5, 'x'),
                      "=\", \"answer\": \"yz\"}\n");
    }
    Write("train.jsonl", rows);
    Write("validation.jsonl", rows);
  }
  void TearDown() override { ASSERT_TRUE(RemoveRecursively(folder_).ok()); }

  void Write(const std::string& name, const std::string& contents) {
    std::ofstream(absl::StrCat(folder_, "/", name)) << contents;
  }
  void WriteConfig(const std::string& model, const std::string& from, const std::string& to) {
    std::string config = kConfig;
    ASSERT_NE(config.find(from), std::string::npos);
    config.replace(config.find(from), from.size(), to);
    Write(absl::StrCat("models/", model, "/config.json"), config);
  }

  absl::StatusOr<Plan> Make(const std::string& text, std::vector<std::string> overrides = {}) {
    const auto job = ParseJob(text, "job.yaml", folder_, overrides);
    if (!job.ok()) return job.status();
    return MakePlan(job->spec, job->positions, host_);
  }
  Plan Planned(const std::string& text, std::vector<std::string> overrides = {}) {
    const auto plan = Make(text, std::move(overrides));
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *plan : Plan();
  }
  std::string ErrorOf(const std::string& text, std::vector<std::string> overrides = {}) {
    const auto plan = Make(text, std::move(overrides));
    return plan.ok() ? "accepted" : std::string(plan.status().message());
  }

  std::string folder_;
  HostFacts host_ = {4, int64_t{8} << 30, int64_t{1} << 30};
};

TEST_F(PlanTest, MakePlan_Ppo_WorkOfAStep) {
  const Plan plan = Planned(kPpoJob, {"algorithm.lag=1", "algorithm.ppo.mini_batch_size=4",
                                      "rollout.bundle_prompts=3", "rollout.max_new_tokens=10"});
  EXPECT_EQ(plan.algorithm, "ppo");
  EXPECT_EQ(plan.steps, 60);
  EXPECT_EQ(plan.slots_per_step, 8);
  EXPECT_EQ(plan.samples_per_step, 16);
  EXPECT_EQ(plan.updates_per_step, 16);  // 4 epochs x 4 mini-batches.
  EXPECT_EQ(plan.bundles_per_step, 3);
  EXPECT_EQ(plan.evaluations, 0);
  EXPECT_EQ(plan.ring_slots, 3);
  EXPECT_EQ(plan.train_rows, 20);
  EXPECT_EQ(plan.longest_prompt, 6);
  EXPECT_EQ(plan.longest_sequence, 16);
  EXPECT_EQ(plan.context, 64);
  // Embedding and head 2*301*16; per layer q, o 2*16*16, k, v 2*16*8, MLP 3*16*32, norms 2*16; last
  // norm.
  EXPECT_EQ(plan.parameters, 2 * 301 * 16 + 2 * (512 + 256 + 1536 + 32) + 16 + 17);
  ASSERT_EQ(plan.roles.size(), 3u);
  EXPECT_EQ(plan.roles[0].role, "scorer");
  EXPECT_EQ(plan.roles[1].role, "rollout");
  EXPECT_EQ(plan.roles[2].role, "learner");
  EXPECT_EQ(plan.total_threads, 3);
}

TEST_F(PlanTest, MakePlan_Ppo_BytesOfEachRole) {
  const Plan plan = Planned(kPpoJob, {"rollout.max_new_tokens=10", "rollout.max_batch=4"});
  const int64_t published = plan.ring_slot_bytes;
  EXPECT_GE(published, 4 * (plan.parameters - 17));
  auto item = [&](int role, const std::string& what) {
    for (const MemoryItem& i : plan.roles[role].memory) {
      if (i.what == what) return i.bytes;
    }
    return int64_t{-1};
  };
  EXPECT_EQ(item(0, "weights"), published);
  EXPECT_EQ(item(1, "KV cache"),
            4 * 16 * 2 * 2 * 2 * 4 * 4);  // batch, length, layers, k+v, heads ...
  EXPECT_EQ(item(1, "logits"), 4 * 301 * 4);
  EXPECT_EQ(item(2, "moments"), 2 * item(2, "weights"));
  EXPECT_EQ(item(2, "gradients"), item(2, "weights"));
  EXPECT_EQ(plan.checkpoint_bytes, 3 * item(2, "weights"));
  EXPECT_EQ(plan.reference_bytes, 16 * 10 * 4);
}

TEST_F(PlanTest, MakePlan_Sft_OnlyALearnerUnlessItEvaluates) {
  const Plan alone = Planned(kSftJob);
  ASSERT_EQ(alone.roles.size(), 1u);
  EXPECT_EQ(alone.roles[0].role, "learner");
  EXPECT_EQ(alone.ring_slots, 0);
  EXPECT_EQ(alone.bundles_per_step, 0);
  EXPECT_EQ(alone.longest_sequence, 6 + 2 + 1);
  const Plan with_eval =
      Planned(kSftJob, {"data.validation=validation.jsonl", "eval.every=15", "eval.max_prompts=17",
                        "rollout.max_batch=8", "rollout.max_new_tokens=4"});
  ASSERT_EQ(with_eval.roles.size(), 2u);
  EXPECT_EQ(with_eval.roles[0].role, "rollout");
  EXPECT_EQ(with_eval.eval_rows, 17);
  EXPECT_EQ(with_eval.eval_bundles, 3);
  EXPECT_EQ(with_eval.evaluations, 4);  // Versions 0, 15, 30, 40.
  EXPECT_EQ(with_eval.ring_slots, 2);
}

TEST_F(PlanTest, MakePlan_EvaluationsThatCoincide_CountedOnce) {
  for (const auto& [every, want] :
       std::vector<std::pair<int, int>>{{40, 2}, {20, 3}, {39, 3}, {99, 2}}) {
    EXPECT_EQ(Planned(kSftJob, {"data.validation=validation.jsonl",
                                absl::StrCat("eval.every=", every), "rollout.max_new_tokens=4"})
                  .evaluations,
              want)
        << every;
  }
}

TEST_F(PlanTest, MakePlan_ImportanceSampling_FollowsModeLagAndTruncation) {
  struct Case {
    std::vector<std::string> overrides;
    bool want;
    bool note;
  };
  const std::string none = "algorithm.ppo.importance_sampling=none";
  const Case cases[] = {
      {{}, false, false},
      {{"algorithm.lag=1"}, true, false},
      {{"rollout.top_k=5"}, true, false},
      {{"rollout.top_p=0.9"}, true, false},
      {{"algorithm.ppo.importance_sampling=token_truncate"}, true, false},
      {{none}, false, false},
      {{none, "algorithm.lag=1"}, false, true},
      {{none, "rollout.top_p=0.9"}, false, true},
  };
  for (const Case& c : cases) {
    std::vector<std::string> overrides = c.overrides;
    overrides.push_back("rollout.max_new_tokens=4");
    const Plan plan = Planned(kPpoJob, overrides);
    EXPECT_EQ(plan.importance_sampling, c.want) << c.overrides.size();
    EXPECT_THAT(plan.notes, Contains(HasSubstr("does not correct it")).Times(c.note ? 1 : 0));
  }
}

TEST_F(PlanTest, MakePlan_FileProblem_NamesFieldAndPosition) {
  struct Case {
    const char* name;
    std::function<void()> damage;
    std::vector<std::string> overrides;
    std::string want;
  };
  const Case cases[] = {
      {"no train file",
       [] {},
       {"data.train=none.jsonl"},
       absl::StrCat("--set data.train: ", folder_, "/none.jsonl: No such file")},
      {"bad row",
       [&] { Write("train.jsonl", "{\"prompt\": 3}\n"); },
       {},
       absl::StrCat("job.yaml:5:15: data.train: ", folder_, "/train.jsonl:1: \"prompt\" is of")},
      {"no model", [] {}, {"policy.path=none"}, "--set policy.path: "},
      {"no config",
       [&] { unlink((folder_ + "/models/start/config.json").c_str()); },
       {},
       "job.yaml:4:9: policy.path: "},
      {"bad config",
       [&] { Write("models/start/config.json", "{"); },
       {},
       "job.yaml:4:9: policy.path: "},
      {"no tokenizer",
       [&] { unlink((folder_ + "/models/start/tokenizer.json").c_str()); },
       {},
       "job.yaml:4:9: policy.path: "},
      {"no weights",
       [&] { unlink((folder_ + "/models/start/model.safetensors").c_str()); },
       {},
       absl::StrCat("job.yaml:4:9: policy.path: ", folder_,
                    "/models/start: no model.safetensors and no model.safetensors.index.json")},
      {"reference without weights",
       [] {},
       {"reference.path=models/tiny"},
       "--set reference.path: "},
      {"reference of other vocabulary",
       [&] { WriteConfig("ref", "\"vocab_size\": 301", "\"vocab_size\": 302"); },
       {"reference.path=models/ref"},
       "--set reference.path has a vocabulary of 302 but the policy one of 301"},
      {"no validation file", [] {}, {"data.validation=none.jsonl"}, "--set data.validation: "},
  };
  for (const Case& c : cases) {
    SetUp();
    c.damage();
    std::vector<std::string> overrides = c.overrides;
    overrides.push_back("rollout.max_new_tokens=4");
    EXPECT_THAT(ErrorOf(kPpoJob, overrides), StartsWith(c.want)) << c.name;
  }
}

TEST_F(PlanTest, MakePlan_ShardedWeights_EveryFileMustBeThere) {
  ASSERT_EQ(unlink((folder_ + "/models/start/model.safetensors").c_str()), 0);
  const std::string index = "models/start/model.safetensors.index.json";
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  Write(index, "{\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"2.safetensors\"}}");
  Write("models/start/1.safetensors", "");
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("2.safetensors: missing, but "));
  Write("models/start/2.safetensors", "");
  EXPECT_EQ(ErrorOf(kPpoJob, fits), "accepted");
  Write(index, "{\"weight_map\": {\"a\": \"../1.safetensors\"}}");
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("tensor a has no file name"));
  Write(index, "{}");
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("no \"weight_map\""));
}

TEST_F(PlanTest, MakePlan_VocabulariesThatDisagree_Refused) {
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  WriteConfig("start", "\"vocab_size\": 301", "\"vocab_size\": 320");
  EXPECT_THAT(Planned(kPpoJob, fits).notes, Contains(HasSubstr("the model has 320 outputs")));
  std::string small = kConfig;
  small.replace(small.find("301"), 3, "300");
  small.replace(small.find("\"eos_token_id\": 300"), 19, "\"eos_token_id\": 9");
  Write("models/start/config.json", small);
  EXPECT_THAT(
      ErrorOf(kPpoJob, fits),
      StartsWith("job.yaml:4:9: policy.path has a tokenizer of 301 ids but a model of 300"));
}

TEST_F(PlanTest, MakePlan_SpecialTokensThatTheJobNeeds_MustExist) {
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  WriteConfig("start", ",\n  \"eos_token_id\": 300", "");
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("has no EOS token, which exact_match needs"));
  EXPECT_THAT(Planned(kPpoJob, {fits[0], "rewards=[{type: length, target: 2}]"}).notes,
              Contains(HasSubstr("the model has no EOS token")));
  WriteConfig("tiny", ",\n  \"eos_token_id\": 300", "");
  EXPECT_THAT(ErrorOf(kSftJob), HasSubstr("has no EOS token, which sft trains on"));
  WriteConfig("start", "\"bos_token_id\": 299,", "");
  EXPECT_THAT(ErrorOf(kPpoJob, {fits[0], "data.add_bos=true"}),
              StartsWith("--set data.add_bos is true, but the model names no BOS"));
}

TEST_F(PlanTest, MakePlan_RowsThatDoNotFit_NameTheirLine) {
  EXPECT_THAT(
      ErrorOf(kPpoJob, {"rollout.max_new_tokens=60"}),
      StartsWith(absl::StrCat("job.yaml:5:15: data.train has a prompt of 5 tokens at ", folder_,
                              "/train.jsonl:4; expected at most 4 (the model's "
                              "max_position_embeddings 64 - rollout.max_new")));
  EXPECT_THAT(ErrorOf(kPpoJob, {"rollout.max_new_tokens=64"}),
              StartsWith("--set rollout.max_new_tokens is 64; expected less "
                         "than the model's max_position_embeddings 64"));
  EXPECT_THAT(ErrorOf(kPpoJob, {"rollout.max_new_tokens=4", "optimizer.micro_batch_tokens=9"}),
              HasSubstr("a prompt of 6 tokens at "));
  EXPECT_THAT(ErrorOf(kSftJob, {"optimizer.micro_batch_tokens=8"}),
              AllOf(HasSubstr("has a row of 8 tokens at "),
                    HasSubstr("expected at most 7 (optimizer.micro_batch_tokens 8 - 1 for EOS)")));
  const std::vector<std::string> eval = {"rollout.max_new_tokens=4", "eval.every=5",
                                         "data.validation=validation.jsonl"};
  Write("validation.jsonl",
        absl::StrCat("{\"prompt\": \"", std::string(61, 'x'), "\", \"answer\": \"\"}\n"));
  EXPECT_THAT(ErrorOf(kPpoJob, eval), StartsWith("--set data.validation has a "
                                                 "prompt of 61 tokens at "));
  Write("train.jsonl", "\n{\"prompt\": \"\", \"answer\": \"a\"}\n");
  EXPECT_THAT(ErrorOf(kPpoJob, {"rollout.max_new_tokens=4"}),
              HasSubstr("data.train has an empty prompt at "));
  EXPECT_EQ(ErrorOf(kPpoJob, {"rollout.max_new_tokens=4", "data.add_bos=true"}), "accepted");
}

TEST_F(PlanTest, MakePlan_RowsWithoutAnswer_OnlyWhereNobodyNeedsIt) {
  Write("train.jsonl", "{\"prompt\": \"a\", \"answer\": \"\"}\n{\"prompt\": \"a\"}\n");
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  EXPECT_THAT(ErrorOf(kPpoJob, fits), AllOf(HasSubstr("data.train has no \"answer\""),
                                            HasSubstr("train.jsonl:2, which exact_match needs")));
  EXPECT_THAT(ErrorOf(kSftJob), HasSubstr("train.jsonl:2, which sft needs"));
  EXPECT_EQ(ErrorOf(kPpoJob, {fits[0], "rewards=[{type: regex, pattern: a}]"}), "accepted");
}

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
      {{"cluster.learner.device=cuda"}, "cluster.learner.device is cuda, but this build has no"},
      {{"cluster.rollout.device=cuda"}, "cluster.rollout.device is cuda"},
      {{"cluster.scorer.device=cuda"}, "cluster.scorer.device is cuda"},
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

TEST_F(PlanTest, MakePlan_LargestNumbersOfTheSchema_NoOverflow) {
  const Plan plan = Planned(
      kPpoJob, {"rollout.max_new_tokens=4", "rollout.max_batch=65536",
                "cluster.rollout.workers=100000", "data.prompts_per_step=262144",
                "data.samples_per_prompt=64", "algorithm.lag=16", "algorithm.ppo.horizon=1e12",
                "optimizer.micro_batch_tokens=100000000", "algorithm.steps=100000000"});
  for (const RolePlan& role : plan.roles) EXPECT_GT(role.private_bytes(), 0);
  EXPECT_GT(plan.evaluations + plan.updates_per_step, 0);
  EXPECT_EQ(plan.ring_slots, 18);
}

TEST_F(PlanTest, Describe_Plan_ShowsRolesBytesAndNotes) {
  const std::string text = Describe(
      Planned(kPpoJob, {"rollout.max_new_tokens=4", "algorithm.lag=1", "cluster.rollout.workers=5",
                        "data.validation=validation.jsonl", "eval.every=20"}));
  for (const char* want :
       {"sort (ppo)\n", "  steps         60, each 8 prompts, 16 samples, 4 optimizer updates\n",
        "20 rows, 24 passes; longest prompt 6 tokens, longest sequence 10 of 64",
        "1 bundle a step; step k uses policy version max(0, k - 1); importance sampling applied",
        "4 of 20 rows in 1 bundle", "3 versions x ", "  rollout            5         1", "KV cache",
        "moments", "on 4 cores", "notes\n  - ", "oversubscribed: 7 threads on 4 cores"}) {
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
