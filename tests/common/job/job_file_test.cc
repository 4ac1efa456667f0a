#include "common/job/job_file.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/job/job_text.h"
#include "common/job/parse_fixture.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace retort::job {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;
using testing::StartsWith;

std::string Replace(const std::string& text, const std::string& from, const std::string& to) {
  EXPECT_THAT(text, HasSubstr(from));
  return absl::StrReplaceAll(text, {{from, to}});
}

TEST(JobFileTest, RecordBegin_TheTimeUnlessTheJobGivesOne) {
  v1::JobSpec spec = Load(kPpoJob);
  EXPECT_FALSE(spec.data().has_template_time());
  const absl::Time begin =
      absl::FromCivil(absl::CivilSecond(2026, 3, 1, 9, 30), absl::LocalTimeZone());
  RecordBegin(begin, &spec);
  EXPECT_EQ(spec.data().template_time(), "2026-03-01T09:30:00");
  RecordBegin(begin + absl::Hours(9999), &spec);
  EXPECT_EQ(spec.data().template_time(), "2026-03-01T09:30:00");
  // What a resume or a second run from RUN/job.yaml reads.
  EXPECT_EQ(Load(JobToYaml(spec)).data().template_time(), "2026-03-01T09:30:00");
}

TEST(JobFileTest, Parse_TemplateTimeThatIsNone_Refused) {
  for (const char* time : {"today", "2026-13-01T00:00:00", "2026-03-01", "''"}) {
    EXPECT_THAT(ErrorOf(kPpoJob, {absl::StrCat("data.template_time=", time)}),
                HasSubstr("expected a date and time such as 2026-03-01T09:30:00"))
        << time;
  }
}

TEST(JobFileTest, Parse_ShortPpoJob_DefaultsFilledIn) {
  const v1::JobSpec spec = Load(kPpoJob);
  EXPECT_EQ(spec.seed(), 1u);
  EXPECT_EQ(spec.algorithm().ppo().ppo_epochs(), 4);
  EXPECT_EQ(spec.algorithm().ppo().kl_penalty(), v1::KL_PENALTY_KL);
  EXPECT_TRUE(spec.algorithm().ppo().adap_kl_ctrl());
  EXPECT_FALSE(spec.algorithm().ppo().has_score_clip());
  EXPECT_EQ(spec.optimizer().max_grad_norm(), 1.0);
  EXPECT_EQ(spec.optimizer().lr_schedule(), v1::LR_SCHEDULE_LINEAR);
  EXPECT_EQ(spec.rollout().bundle_prompts(), 8);
  EXPECT_EQ(spec.cluster().learner().ranks(), 1);
  EXPECT_EQ(spec.cluster().rollout().threads(), 1);
  EXPECT_EQ(spec.cluster().scorer().device(), v1::DEVICE_CPU);
  EXPECT_EQ(spec.output().keep(), 2);
  EXPECT_FALSE(spec.reference().has_path());
  ASSERT_EQ(spec.rewards_size(), 2);
  EXPECT_TRUE(spec.rewards(0).exact_match().require_eos());
  EXPECT_EQ(spec.rewards(0).weight(), 1.0);
  EXPECT_EQ(spec.rewards(1).length().target(), 6);
  EXPECT_EQ(spec.rewards(1).length().tolerance(), 2);
  EXPECT_EQ(spec.rewards(1).weight(), 0.5);
}

TEST(JobFileTest, Parse_Paths_AbsoluteAndNormal) {
  const v1::JobSpec spec = Load(kFullPpoJob);
  EXPECT_EQ(spec.policy().path(), "/models/start");
  EXPECT_EQ(spec.reference().path(), "/ref");
  EXPECT_EQ(spec.data().train(), "/base/a b.jsonl");
  EXPECT_EQ(spec.data().validation(), "/base/vé\t.jsonl");
  EXPECT_EQ(Load(kPpoJob, {"output.dir=./x"}).output().dir(), "/base/x");
}

TEST(JobFileTest, Parse_FullJob_EveryValueTaken) {
  const v1::JobSpec spec = Load(kFullPpoJob);
  EXPECT_EQ(spec.seed(), 18446744073709551615u);
  EXPECT_EQ(spec.algorithm().ppo().horizon(), 1e5);
  EXPECT_EQ(spec.algorithm().ppo().target(), 5.0);
  EXPECT_EQ(spec.algorithm().ppo().init_kl_coef(), 0.05);
  EXPECT_EQ(spec.algorithm().ppo().importance_sampling(), v1::IMPORTANCE_SAMPLING_TOKEN_TRUNCATE);
  EXPECT_EQ(spec.rewards(0).regex().pattern(), "a\"b\\d+ #: é");
  EXPECT_EQ(spec.rewards(0).weight(), -1.0);
  EXPECT_FALSE(spec.optimizer().has_max_grad_norm());
  EXPECT_EQ(spec.cluster().learner().collective(), v1::COLLECTIVE_KIND_SHM);
}

TEST(JobFileTest, Parse_SectionOfOtherMethodOrEmpty_Absent) {
  EXPECT_FALSE(Load(kPpoJob).algorithm().has_sft());
  EXPECT_FALSE(Load(kPpoJob).policy().has_init());
  const v1::JobSpec sft = Load(kSftJob);
  EXPECT_FALSE(sft.algorithm().has_ppo());
  EXPECT_FALSE(sft.has_rollout());
  EXPECT_FALSE(sft.has_reference());
  EXPECT_FALSE(sft.cluster().has_scorer());
  EXPECT_TRUE(sft.cluster().has_learner());
  EXPECT_TRUE(MessageDifferencer::Equals(Load(kPpoJob), Load(std::string(kPpoJob) + "rollout:\n")));
}

struct ErrorCase {
  const char* name;
  std::string from, to;  // Replaced in kPpoJob.
  std::string want;      // Start of the message.
};

TEST(JobFileTest, Parse_BadYaml_FileLineColumnAndWhat) {
  const std::string deep = std::string(70, '[') + std::string(70, ']');
  const ErrorCase cases[] = {
      {"anchor", "name: sort", "name: &a sort", "job.yaml:1:7: anchor &a is not supported"},
      {"alias", "dir: runs/sort", "dir: *a", "job.yaml:10:8: "},
      {"tag", "name: sort", "name: !!str sort", "job.yaml:1:7: tag tag:yaml.org,2002:str is not"},
      {"section tag", "output:", "output: !x", "job.yaml:9:9: tag !x is not supported"},
      {"duplicate key", "output:", "name: b\noutput:", "job.yaml:9:1: key \"name\" appears twice"},
      {"duplicate in flow", "steps: 60", "steps: 60, type: ppo", "job.yaml:2:35: key \"type\""},
      {"deep", "name: sort", "name: " + deep, "job.yaml:1:70: nested deeper than 64 levels"},
      {"second document", "output:", "---\noutput:", "job.yaml:9:1: a second document"},
      {"key no text", "name: sort", "[a]: b", "job.yaml:1:1: a key is no plain text"},
      {"null key", "name: sort", "~: b", "job.yaml:1:1: a key is empty"},
      {"stray bracket", "output:", "]\noutput:", "job.yaml:9:1: "},
      {"unclosed", "steps: 60}", "steps: 60", "job.yaml:3:"},
      {"tab indent", "  path", "\tpath", "job.yaml:4:"},
      {"control", "sort", "so\x04rt", "job.yaml:1:9: a control character"},
      {"not UTF-8", "sort", "so\xffrt", "job.yaml:1:9: not UTF-8"},
      {"mark", "name: sort", "\xef\xbb\xbfname: sort", "job.yaml:1:1: a byte order mark"},
  };
  for (const ErrorCase& c : cases) {
    EXPECT_THAT(ErrorOf(Replace(kPpoJob, c.from, c.to)), StartsWith(c.want)) << c.name;
  }
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), StartsWith("job.yaml:1:1: nested deeper than 64"));
  EXPECT_THAT(ErrorOf("- a\n"), StartsWith("job.yaml:1:1: the job is a list; expected a section"));
  EXPECT_THAT(ErrorOf("text"), StartsWith("job.yaml:1:1: the job is text; expected a section"));
  EXPECT_THAT(ErrorOf(""), StartsWith("job.yaml:1:1: name is missing; expected a string"));
  EXPECT_THAT(ErrorOf(std::string((1 << 20) + 1, ' ')), StartsWith("job.yaml: 1048577 bytes"));
  std::string many = "name: [";
  for (int i = 0; i < 70000; ++i) many += "a,";
  EXPECT_THAT(ErrorOf(many + "]"), HasSubstr("more than 65536 values"));
}

TEST(JobFileTest, Parse_BadKey_NearestKeyOrWhatWasExpected) {
  const std::string kinds = RewardKinds();
  const ErrorCase cases[] = {
      {"misspelt", "steps: 60", "stpes: 60",
       "job.yaml:2:24: algorithm.stpes is not a known key; did you mean algorithm.steps?"},
      {"other section's", "name: sort", "name: sort\nlearning_rate: 1",
       "job.yaml:2:1: learning_rate is not a known key; did you mean optimizer.learning_rate?"},
      {"stranger", "steps: 60", "colour: 60",
       "job.yaml:2:24: algorithm.colour is not a known key; expected one of type, steps, lag, "
       "max_bad_steps, ppo, sft"},
      {"top level", "output:", "outptu:", "job.yaml:9:1: outptu is not a known key"},
      {"merge key", "name: sort", "<<: {}", "job.yaml:1:1: << is not a known key"},
      {"escaped", "name: sort", "\"a\\nb\": 1", "job.yaml:1:1: a\\nb is not a known key"},
      {"of a reward", "target: 6", "tagret: 6",
       "job.yaml:8:20: rewards.1.tagret is not a known key; did you mean rewards.1.target?"},
      {"of another reward", "tolerance: 2", "pattern: 2",
       "job.yaml:8:31: rewards.1.pattern is not"},
      {"oneof member", "type: exact_match", "type: exact_match\n    exact_match: {}",
       "job.yaml:8:5: rewards.0.exact_match is not a known key"},
      {"reward type", "type: length", "type: lenght",
       "job.yaml:8:12: rewards.1.type is lenght; expected one of " + kinds +
           "; did you mean length?"},
      {"no reward type", "type: length, ", "",
       "job.yaml:8:5: rewards.1.type is missing; expected one of " + kinds},
      {"missing top", "name: sort", "", "job.yaml:2:1: name is missing; expected a string"},
      {"missing inside", ", steps: 60", "",
       "job.yaml:2:12: algorithm.steps is missing; expected an integer >= 1 and <= 1e8 (steps)"},
      {"missing section", "output:\n  dir: runs/sort\n", "",
       "job.yaml:1:1: output.dir is missing; expected a path"},
      {"missing of reward", "target: 6, ", "",
       "job.yaml:8:5: rewards.1.target is missing; expected an integer >= 0"},
  };
  for (const ErrorCase& c : cases) {
    EXPECT_THAT(ErrorOf(Replace(kPpoJob, c.from, c.to)), StartsWith(c.want)) << c.name;
  }
  EXPECT_THAT(ErrorOf("learning_rate: 1"), HasSubstr("; did you mean optimizer.learning_rate?"));
  EXPECT_THAT(ErrorOf("ouput: 1"), HasSubstr("; did you mean output?"));
}

TEST(JobFileTest, Parse_BadValue_FieldValueAndWhatWasExpected) {
  const std::string steps = "job.yaml:2:31: algorithm.steps is ";
  const ErrorCase cases[] = {
      {"zero", "60", "0", steps + "0; expected an integer >= 1 and <= 1e8 (steps)"},
      {"negative", "60", "-1", steps + "-1; expected an integer"},
      {"too large", "60", "100000001", steps + "100000001; expected"},
      {"beyond 64 bits", "60", "99999999999999999999", steps + "99999999999999999999; expected"},
      {"fraction", "60", "1.5", steps + "1.5; expected an integer"},
      {"exponent", "60", "1e2", steps + "1e2; expected an integer"},
      {"octal", "60", "010", steps + "010; expected an integer"},
      {"hexadecimal", "60", "0x10", steps + "0x10; expected an integer"},
      {"quoted", "60", "\"60\"", steps + "\"60\"; expected an integer"},
      {"empty", "60", "", "job.yaml:2:31: algorithm.steps is null; expected an integer"},
      {"list", "60", "[60]", steps + "a list; expected an integer"},
      {"section", "60", "{a: 1}", steps + "a section; expected an integer"},
      {"word", "60", "many", steps + "many; expected an integer"},
      {"enum", "type: ppo", "type: pppo",
       "job.yaml:2:19: algorithm.type is pppo; expected one of sft, ppo; did you mean ppo?"},
      {"enum upper case", "type: ppo", "type: PPO",
       "job.yaml:2:19: algorithm.type is PPO; expected one of sft, ppo"},
      {"enum prefix", "type: ppo", "type: unspecified", "job.yaml:2:19: algorithm.type is"},
      {"32 bits", "samples_per_prompt: 2", "samples_per_prompt: 4294967298",
       "job.yaml:5:69: data.samples_per_prompt is 4294967298; expected"},
      {"negative uint", "name: sort", "name: sort\nseed: -1",
       "job.yaml:2:7: seed is -1; expected an integer >= 0"},
      {"section is scalar", "  dir: runs/sort", "  3",
       "job.yaml:10:3: output is 3; expected a sec"},
      {"list is section", "rewards:\n  - type: exact_match\n  -", "rewards:\n  ",
       "job.yaml:7:4: rewards is a section; expected a list of sections"},
      {"entry is scalar", "- type: exact_match", "- exact_match",
       "job.yaml:7:5: rewards.0 is exact_match; expected a section"},
      {"null string", "name: sort", "name: null", "job.yaml:1:7: name is null; expected a string"},
      {"empty path", "runs/sort", "\"\"", "job.yaml:10:8: output.dir is empty; expected a path"},
      {"NUL", "runs/sort", "\"a\\0b\"", "job.yaml:10:8: output.dir holds a NUL character"},
      {"long string", "runs/sort", std::string(4097, 'a'), "job.yaml:10:8: output.dir is 4097 byt"},
      {"name", "name: sort", "name: a/b", "job.yaml:1:7: name is \"a/b\"; expected 1 to 128 lett"},
      {"name starts", "name: sort", "name: ..", "job.yaml:1:7: name is \"..\"; expected"},
  };
  for (const ErrorCase& c : cases) {
    EXPECT_THAT(ErrorOf(Replace(kPpoJob, c.from, c.to)), StartsWith(c.want)) << c.name;
  }
  std::string list = "rewards: [";
  for (int i = 0; i < 1025; ++i) list += "{type: exact_match},";
  EXPECT_THAT(ErrorOf(kPpoJob, {list.replace(7, 2, "=") + "]"}),
              HasSubstr("rewards has 1025 entries; expected at most 1024"));
}

TEST(JobFileTest, Parse_Numbers_OnlyDecimalWithinBounds) {
  const std::string key = "optimizer.learning_rate=";
  for (const char* good : {"0", "1", ".5", "5.", "1e-3", "1.5E+1", "+2", "0.10"}) {
    EXPECT_EQ(ErrorOf(kPpoJob, {key + good}), "accepted") << good;
  }
  for (const char* bad : {"nan", ".inf", "inf", "0x1p3", "1e999", "1_000", "1e", "e5", ".", "1.2.3",
                          "-1", "101", "1,5", "'1'", "true", "1e5e5", "--1"}) {
    EXPECT_THAT(ErrorOf(kPpoJob, {key + bad}), HasSubstr("expected a number >= 0 and <= 100"))
        << bad;
  }
  EXPECT_THAT(ErrorOf(kPpoJob, {"rollout.temperature=0"}), HasSubstr("a number > 0 and <= 1000"));
  EXPECT_THAT(ErrorOf(kPpoJob, {"optimizer.beta1=1"}), HasSubstr("<= 0.999999999"));
  EXPECT_THAT(ErrorOf(kPpoJob, {"optimizer.max_grad_norm=x"}), HasSubstr(", or null"));
  for (const char* bad : {"yes", "on", "True", "1", "'true'", "null"}) {
    EXPECT_THAT(ErrorOf(kPpoJob, {std::string("data.shuffle=") + bad}),
                HasSubstr("expected true or false"))
        << bad;
  }
}

TEST(JobFileTest, Parse_SectionThatTheMethodIgnores_Refused) {
  struct Case {
    const char *base, *given, *want;
  };
  const Case cases[] = {
      {kPpoJob, "algorithm.sft={}",
       "algorithm.sft would be ignored: algorithm.type is ppo; remove"},
      {kPpoJob, "policy.init.std=0.1",
       "policy.init would be ignored: policy.path gives the weights"},
      {kSftJob, "algorithm.ppo.gamma=1", "algorithm.ppo would be ignored: algorithm.type is sft"},
      {kSftJob, "algorithm.lag=0", "algorithm.lag would be ignored: sft samples nothing"},
      {kSftJob, "reference.path=r", "reference would be ignored"},
      {kSftJob, "data.prompts_per_step=4", "data.prompts_per_step would be ignored: sft takes"},
      {kSftJob, "data.samples_per_prompt=4", "data.samples_per_prompt would be ignored"},
      {kSftJob, "rollout.max_new_tokens=4",
       "rollout would be ignored: sft generates only for eval"},
      {kSftJob, "rewards=[{type: exact_match}]", "rewards would be ignored: sft generates only"},
      {kSftJob, "cluster.rollout.workers=2", "cluster.rollout would be ignored"},
      {kPpoJob, "cluster.tf32=true", "cluster.tf32 would be ignored: no role has device cuda"},
      {kSftJob, "cluster.scorer.workers=2", "cluster.scorer would be ignored"},
  };
  for (const Case& c : cases) EXPECT_THAT(ErrorOf(c.base, {c.given}), HasSubstr(c.want)) << c.given;
  const std::string line = std::string(kSftJob) + "reference:\n  path: r\n";
  EXPECT_THAT(ErrorOf(line), StartsWith("job.yaml:9:3: reference would be ignored"));
}

TEST(JobFileTest, Parse_SftWithEval_TakesWhatGreedyGenerationReads) {
  const std::vector<std::string> eval = {"data.validation=v", "eval.every=5",
                                         "rollout.max_new_tokens=4", "cluster.rollout.workers=2",
                                         "rewards=[{type: exact_match}]"};
  EXPECT_EQ(Load(kSftJob, eval).rollout().max_new_tokens(), 4);
  for (const char* key : {"rollout.temperature=1", "rollout.top_k=3", "rollout.top_p=0.5",
                          "rollout.bundle_prompts=2"}) {
    std::vector<std::string> overrides = eval;
    overrides.push_back(key);
    EXPECT_THAT(ErrorOf(kSftJob, overrides), HasSubstr("would be ignored: sft generates only for "
                                                       "eval, greedily"));
  }
}

TEST(JobFileTest, Parse_EvalSwitchedOff_WhatOnlyEvalReadsMayStay) {
  const v1::JobSpec spec =
      Load(kSftJob, {"data.validation=v", "eval.every=0", "rollout.max_new_tokens=4"});
  EXPECT_FALSE(spec.has_rollout());
}

TEST(JobFileTest, Parse_ValuesThatContradict_FieldToChange) {
  struct Case {
    std::vector<std::string> overrides;
    const char* want;
  };
  const Case cases[] = {
      {{"algorithm.ppo.mini_batch_size=5"},
       "--set algorithm.ppo.mini_batch_size is 5; expected a "
       "divisor "
       "of the step's 16 samples"},
      {{"algorithm.ppo.mini_batch_size=32"}, "mini_batch_size is 32; expected a divisor"},
      {{"algorithm.ppo.horizon=3.2"},
       "algorithm.ppo.horizon is 3.2; expected more than 3.2, a fifth of the step's 16 samples"},
      {{"rewards=[]"}, "--set rewards is empty; ppo needs at least one"},
      {{"rewards=null"}, "job.yaml:1:1: rewards is empty"},
      {{"algorithm.ppo.use_score_norm=true"}, "use_score_norm is true but use_score_scaling is"},
      {{"optimizer.lr_schedule=constant", "optimizer.warmup_steps=3"},
       "optimizer.warmup_steps is 3 but lr_schedule constant has no warm-up"},
      {{"optimizer.warmup_steps=61"}, "warmup_steps is 61; expected at most 60 (algorithm.steps)"},
      {{"optimizer.min_lr=1e-6"}, "optimizer.min_lr is 1e-6 but lr_schedule linear has no floor"},
      {{"optimizer.lr_schedule=cosine_with_min_lr", "optimizer.min_lr=1"},
       "optimizer.min_lr is 1; expected at most 1e-5 (optimizer.learning_rate)"},
      {{"eval.every=5"}, "data.validation is missing, but eval.every is 5; expected a JSONL file"},
      {{"data.prompts_per_step=1000001"}, "data.prompts_per_step is 1000001; expected at most"},
      {{"data.prompts_per_step=1000000", "data.samples_per_prompt=17"},
       "data.samples_per_prompt makes 17000000 samples a step; expected at most 16777216"},
      {{"data.samples_per_prompt=65536"}, "rollout.bundle_prompts makes 524288 samples a bundle"},
      {{"policy.path=null"}, "--set policy.path is missing; expected a folder"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(ErrorOf(kPpoJob, c.overrides), HasSubstr(c.want)) << c.want;
  }
  EXPECT_THAT(ErrorOf(kSftJob, {"algorithm.sft.batch_size=2000000"}),
              HasSubstr("algorithm.sft.batch_size is 2000000; expected at most 1000000"));
}

TEST(JobFileTest, LoadJob_File_PathsRelativeToItsFolder) {
  const std::string folder = testing::TempDir() + "/job_file_test";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/job.yaml", kPpoJob).ok());
  const auto spec = LoadJob(folder + "/job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->data().train(), ResolvePath(folder, "train.jsonl"));
  EXPECT_EQ(LoadJob(folder + "/none.yaml").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(LoadJob(folder).ok());
}

TEST(JobFileTest, LoadJob_EveryExample_Accepted) {
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "RETORT_SOURCE_DIR is not set; run this through ctest";
  int loaded = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(source) + "/examples")) {
    if (entry.path().extension() != ".yaml") continue;
    const auto spec = LoadJob(entry.path().string());
    EXPECT_TRUE(spec.ok()) << spec.status();
    ++loaded;
  }
  EXPECT_GT(loaded, 0);
}

TEST(JobFileTest, Positions_GivenKeys_WhereTheyStand) {
  const auto job = ParseJob(kPpoJob, "job.yaml", "/base", std::vector<std::string>{"seed=3"});
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->positions.Where("data.train"), "job.yaml:5:15");
  EXPECT_EQ(job->positions.Where("seed"), "--set seed");
  EXPECT_EQ(job->positions.Where("data.shuffle"), "job.yaml:5:7");
  EXPECT_EQ(job->positions.Where("rewards.1.target"), "job.yaml:8:28");
  EXPECT_EQ(job->positions.Where("eval.every"), "job.yaml:1:1");
  EXPECT_EQ(FieldPositions().Where("eval.every"), "");
  EXPECT_EQ(FieldPositions().Error("eval.every", "is 3").message(), "eval.every is 3");
}

}  // namespace
}  // namespace retort::job
