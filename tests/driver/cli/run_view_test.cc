#include "driver/cli/run_view.h"

#include "driver/cli/run_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

v1::EvalRecord Eval(int64_t version, double exact_match) {
  v1::EvalRecord record;
  record.set_version(version);
  record.set_exact_match(exact_match);
  return record;
}

RunSummary Finished() {
  RunSummary summary;
  summary.result.end = RunEnd::kDone;
  summary.result.weight_digest = "00ff";
  summary.result.model_path = "/runs/a/model";
  summary.run_dir = "/runs/a";
  summary.steps = 60;
  return summary;
}

TEST(ClosingLinesTest, WithEvaluations_LastLineIsTheExactMatch) {
  RunSummary summary = Finished();
  summary.evals = {Eval(0, 0.4149), Eval(20, 0.7), Eval(60, 0.962)};
  const auto lines = ClosingLines("/repo/build/bin", summary);
  EXPECT_EQ(lines.back(), "held-out exact match: 41.5 % -> 96.2 %");
  EXPECT_THAT(lines, Contains("final weights: 00ff"));
  EXPECT_THAT(lines, Contains("model: /runs/a/model"));
}

TEST(ClosingLinesTest, WithoutEvaluation_LastLineIsTheModel) {
  EXPECT_EQ(ClosingLines("/repo/build/bin", Finished()).back(), "model: /runs/a/model");
}

TEST(ClosingLinesTest, Stopped_SaysHowToGoOn) {
  RunSummary summary = Finished();
  summary.result.end = RunEnd::kStopped;
  summary.result.next_step = summary.result.checkpoint_step = 12;
  const auto lines = ClosingLines("/repo/build/bin", summary);
  EXPECT_EQ(lines.front(), "stopped after 12 of 60 steps, newest checkpoint: step 12");
  EXPECT_EQ(lines.back(), "go on with: /repo/build/bin/retort run --resume /runs/a");
}

TEST(FailureLinesTest, WorkerFailure_ShowsItsLogAndWhatToDo) {
  RunSummary summary = Finished();
  summary.result.end = RunEnd::kFailed;
  summary.result.message = "scorer-0 died 5 times";
  summary.result.worker = "scorer-0";
  summary.result.log_tail = "one\nout of memory";
  const auto lines = FailureLines("/repo/build/bin", summary);
  EXPECT_EQ(lines.front(), "retort: scorer-0 died 5 times");
  EXPECT_THAT(lines, Contains("  | out of memory"));
  EXPECT_THAT(lines.back(), HasSubstr("retort run --resume /runs/a"));
}

TEST(FailureLinesTest, BadInputBeforeTraining_OffersNoResume) {
  RunSummary summary = Finished();
  summary.result.end = RunEnd::kFailed;
  summary.result.bad_input = true;
  summary.result.message = "model.safetensors is torn";
  summary.run_dir.clear();
  EXPECT_THAT(FailureLines("/repo/build/bin", summary).back(), HasSubstr("nothing is left behind"));
}

TEST(ExitCodeTest, InputErrorsAreTwoOthersOne) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
}

}  // namespace
}  // namespace retort::driver
