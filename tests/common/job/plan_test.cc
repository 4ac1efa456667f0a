// What a plan counts, and which jobs have none: their files and numbers do not fit together.
#include <functional>
#include <string>
#include <vector>

#include "common/job/plan_fixture.h"
#include "gmock/gmock.h"

namespace retort::job {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::StartsWith;

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

TEST_F(PlanTest, MakePlan_SeveralUpdatesAStep_CountsTheCopyThatUndoesThem) {
  const auto copy = [this](const std::string& epochs, const std::string& mini_batch) {
    const Plan plan =
        Planned(kPpoJob, {"rollout.max_new_tokens=10", "algorithm.ppo.ppo_epochs=" + epochs,
                          "algorithm.ppo.mini_batch_size=" + mini_batch});
    for (const MemoryItem& item : plan.roles[2].memory) {
      if (item.what == "copy to undo a bad step") return item.bytes * 4 / plan.checkpoint_bytes;
    }
    return int64_t{0};
  };
  EXPECT_EQ(copy("2", "0"), 4) << "weights and both moments, as a checkpoint";
  EXPECT_EQ(copy("1", "4"), 4);
  EXPECT_EQ(copy("1", "0"), 0);
  EXPECT_EQ(copy("1", "16"), 0) << "the whole batch at once";
}

TEST_F(PlanTest, MakePlan_Bfloat16_HalvesTheReferenceAndOnlyThat) {
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  const Plan wide = Planned(kPpoJob, fits);
  const Plan half = Planned(kPpoJob, {fits[0], "reference.dtype=bfloat16"});
  ASSERT_EQ(half.roles[0].role, "scorer");
  EXPECT_EQ(2 * half.roles[0].memory[0].bytes, wide.roles[0].memory[0].bytes);
  EXPECT_EQ(half.ring_slot_bytes, wide.ring_slot_bytes);
  EXPECT_THAT(
      ErrorOf(kPpoJob, {fits[0], "policy.dtype=bfloat16"}),
      HasSubstr("policy.dtype is bfloat16, in which only GPUs compute; expected float32, or "
                "device cuda for learner and rollout"));
  EXPECT_THAT(ErrorOf(kPpoJob, {fits[0], "policy.path=null", "policy.init.config=models/tiny",
                                "reference.dtype=bfloat16"}),
              HasSubstr("reference.dtype is bfloat16, but the reference is the policy's random"));
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
                    "/models/start: no weights; expected model.safetensors")},
      {"weights of another shape",
       [&] { WriteWeights("start", "model.norm.weight"); },
       {},
       absl::StrCat("job.yaml:4:9: policy.path: ", folder_,
                    "/models/start/model.safetensors: tensor model.norm.weight has shape [16,1,1]; "
                    "expected [16]")},
      {"a sequence classification",
       [&] {
         WriteConfig("start", "\"model_type\"",
                     R"("architectures": ["LlamaForSequenceClassification"], "num_labels": 1,
                        "model_type")");
       },
       {},
       absl::StrCat("job.yaml:4:9: policy.path: ", folder_,
                    "/models/start/config.json: architectures names a sequence classification")},
      {"reference's weights cut short",
       [&] { Write("models/ref/model.safetensors", "weights"); },
       {"reference.path=models/ref"},
       absl::StrCat("--set reference.path: ", folder_, "/models/ref/model.safetensors: 7 bytes")},
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
  const auto one = [](const char* name) {
    return layout::EncodeSafetensorsHeader({{name, "F32", {1}}}) + std::string(4, '\0');
  };
  Write("models/start/1.safetensors", one("a"));
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("2.safetensors: missing, but "));
  Write("models/start/2.safetensors", one("c"));
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("2.safetensors: tensor c is not there"));
  Write("models/start/2.safetensors", one("b"));
  EXPECT_THAT(ErrorOf(kPpoJob, fits),
              HasSubstr("tensor model.embed_tokens.weight is missing; config.json asks for it"));
  Write(index, "{\"weight_map\": {\"a\": \"../1.safetensors\"}}");
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("names no plain file for tensor \"a\""));
  Write(index, "{}");
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("weight_map is missing"));
}

TEST_F(PlanTest, MakePlan_VocabulariesThatDisagree_Refused) {
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  WriteConfig("start", "\"vocab_size\": 301", "\"vocab_size\": 320");
  WriteWeights("start");
  EXPECT_THAT(Planned(kPpoJob, fits).notes, Contains(HasSubstr("the model has 320 outputs")));
  std::string small = kPlanConfig;
  small.replace(small.find("301"), 3, "300");
  small.replace(small.find("\"eos_token_id\": 300"), 19, "\"eos_token_id\": 9");
  Write("models/start/config.json", small);
  WriteWeights("start");
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
  EXPECT_THAT(ErrorOf(kSftJob), AllOf(HasSubstr("data.train"), HasSubstr("names an EOS token")));
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
  EXPECT_THAT(
      ErrorOf(kPpoJob, {"rollout.max_new_tokens=4"}),
      AllOf(HasSubstr("data.train: "), HasSubstr("train.jsonl:2: the prompt has no tokens")));
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

TEST_F(PlanTest, MakePlan_Conversations_AreRenderedRowByRow) {
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4"};
  const std::string chat =
      R"({"messages": [{"role": "user", "content": "pp"}, {"role": "assistant", "content": "qqq"}]})";
  Write("train.jsonl", chat + "\n" + chat + "\n");
  EXPECT_THAT(ErrorOf(kSftJob), AllOf(HasSubstr("train.jsonl:1: the row is a conversation"),
                                      HasSubstr("models/tiny: neither chat_template.jinja nor")));
  for (const char* model : {"start", "tiny"}) {
    Write(absl::StrCat("models/", model, "/chat_template.jinja"),
          "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('no ' + m.role) }}"
          "{% endif %}{{ m.role }}:{{ m.content }}<eos>{% endfor %}"
          "{% if add_generation_prompt %}assistant:{% endif %}");
  }
  const Plan sft = Planned(kSftJob);
  EXPECT_EQ(sft.longest_prompt, 8 + 10);  // "user:pp<eos>", "assistant:".
  EXPECT_EQ(sft.longest_sequence, 18 + 4);
  const Plan ppo = Planned(kPpoJob, fits);
  EXPECT_EQ(ppo.longest_prompt, 18);
  EXPECT_EQ(ppo.longest_sequence, 18 + 4);
  EXPECT_THAT(Planned(kPpoJob, {fits[0], "data.add_bos=true"}).notes,
              Contains(HasSubstr("data.add_bos does not concern rows of messages")));
  EXPECT_THAT(
      ErrorOf(kSftJob, {"optimizer.micro_batch_tokens=21"}),
      AllOf(HasSubstr("has a row of 22 tokens at "),
            HasSubstr("train.jsonl:1; expected at most 21 (optimizer.micro_batch_tokens 21)")));
  EXPECT_THAT(ErrorOf(kPpoJob, {"rollout.max_new_tokens=47"}),
              HasSubstr("has a prompt of 18 tokens at "));
  Write(
      "train.jsonl",
      chat + "\n" + R"({"messages": [{"role": "user", "content": "bad"}], "answer": "a"})" + "\n");
  for (const std::string& error : {ErrorOf(kSftJob), ErrorOf(kPpoJob, fits)}) {
    EXPECT_THAT(error, AllOf(HasSubstr("train.jsonl:2: "), HasSubstr("no user")));
  }
  Write("train.jsonl", R"({"messages": [{"role": "user", "content": "p"}]})");
  EXPECT_THAT(ErrorOf(kSftJob), HasSubstr("train.jsonl:1: the conversation has no token of the"));
  EXPECT_THAT(ErrorOf(kPpoJob, fits), HasSubstr("train.jsonl:1, which exact_match needs"));
}

TEST_F(PlanTest, MakePlan_LargestNumbersOfTheSchema_NoOverflow) {
  const Plan plan = Planned(
      kPpoJob, {"rollout.max_new_tokens=4", "rollout.max_batch=65536",
                "cluster.rollout.workers=100000", "data.prompts_per_step=262144",
                "data.samples_per_prompt=64", "algorithm.lag=16", "algorithm.ppo.horizon=1e12",
                "optimizer.micro_batch_tokens=100000000", "algorithm.steps=100000000"});
  for (const RolePlan& role : plan.roles) EXPECT_GT(role.host_bytes() + role.gpu_bytes(), 0);
  EXPECT_GT(plan.evaluations + plan.updates_per_step, 0);
  EXPECT_EQ(plan.ring_slots, 18);
}

}  // namespace
}  // namespace retort::job
