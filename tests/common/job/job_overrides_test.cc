// `--set` on the command line.
#include "common/job/job_text.h"
#include "common/job/parse_fixture.h"
#include "gmock/gmock.h"

namespace retort::job {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(JobOverridesTest, Overrides_ReplaceAddAndLastWins) {
  const v1::JobSpec spec =
      Load(kPpoJob, {"seed=7", "algorithm.ppo.gamma=0.5", "algorithm.ppo.lam=0.25", "seed=8",
                     "rewards.1.weight=2", "eval={every: 4}", "data.validation=a=b.jsonl",
                     "optimizer.max_grad_norm=", "rewards.0={type: regex, pattern: x}"});
  EXPECT_EQ(spec.seed(), 8u);
  EXPECT_EQ(spec.algorithm().ppo().gamma(), 0.5);
  EXPECT_EQ(spec.algorithm().ppo().lam(), 0.25);
  EXPECT_EQ(spec.rewards(1).weight(), 2.0);
  EXPECT_EQ(spec.rewards(0).regex().pattern(), "x");
  EXPECT_EQ(spec.eval().every(), 4);
  EXPECT_EQ(spec.data().validation(), "/base/a=b.jsonl");
  EXPECT_FALSE(spec.optimizer().has_max_grad_norm());
}

TEST(JobOverridesTest, BadOverride_SaysSetAndKey) {
  struct Case {
    const char *given, *want;
  };
  const Case cases[] = {
      {"algorithm.steps", "--set algorithm.steps: no \"=\"; expected a.b.c=value"},
      {"=3", "--set : a part of the key is empty"},
      {"a..b=3", "--set a..b: a part of the key is empty"},
      {"algorithm.steps=0", "--set algorithm.steps is 0; expected an integer >= 1"},
      {"algorithm.stpes=3", "--set algorithm.stpes is not a known key"},
      {"algorithm.steps.x=3", "--set algorithm.steps.x: \"x\" lies inside the value 60"},
      {"rewards.2.weight=3",
       "--set rewards.2.weight: \"2\" is no entry of the list; expected 0 to 1"},
      {"rewards.x=3", "--set rewards.x: \"x\" is no entry of the list"},
      {"name=[", "--set name: not YAML: "},
      {"name=&a b", "--set name: anchor &a is not supported"},
      {"name=a\x01", "--set name: a control character"},
      {"a\xff\nb", "--set a\\xff\\nb: no \"=\""},
      {"nope.a.b=1", "--set nope.a.b: nope is not a known key"},
  };
  for (const Case& c : cases) EXPECT_THAT(ErrorOf(kPpoJob, {c.given}), StartsWith(c.want));
}

}  // namespace
}  // namespace retort::job
