// A loss that stays infinite ends the run; nothing of the bad steps was applied.
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "e2e/retort_run.h"

namespace retort::e2e {
namespace {

TEST(BadStepTest, LossNeverFinite_StopsWithTheBatchSaved) {
  JobOptions options;
  options.rewards =
      "{type: length, target: 3, tolerance: 4, weight: 1.0e+25}";  // Its square is infinite.
  options.learner_ranks = 2;
  SmallRun run("never-finite", options);
  EXPECT_EQ(run.Start({"--set", "algorithm.max_bad_steps=1"}), 1) << run.output();
  const int64_t bad = run.Journal("SELECT step FROM commits WHERE bad_step = 1");
  ASSERT_GE(bad, 0);
  // The step before and after a bad one have the same weights: nothing was applied.
  EXPECT_EQ(
      run.Journal(absl::StrCat("SELECT COUNT(DISTINCT weight_digest) FROM commits WHERE step IN (",
                               bad - 1, ",", bad, ")")),
      1);
  EXPECT_TRUE(FileExists(absl::StrCat(run.folder(), "/bad-batches/step-", bad, ".safetensors")));
  EXPECT_TRUE(
      FileExists(absl::StrCat(run.folder(), "/bad-batches/step-", bad + 1, ".safetensors")));
}

}  // namespace
}  // namespace retort::e2e
