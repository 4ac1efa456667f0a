#include "common/objective/lr_schedule.h"

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

LrScheduleOptions Linear(int64_t warmup, int64_t steps) {
  LrScheduleOptions options;
  options.lr = 1;
  options.num_warmup_steps = warmup;
  options.num_training_steps = steps;
  return options;
}

TEST(LrScheduleTest, Linear_WarmsUpThenFallsToZero) {
  const LrScheduleOptions options = Linear(2, 6);
  const double want[] = {0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0};
  for (int64_t k = 0; k < 8; ++k) EXPECT_DOUBLE_EQ(LearningRateAt(options, k), want[k]) << k;
}

TEST(LrScheduleTest, CosineWithMinLr_EndsThere) {
  LrScheduleOptions options = Linear(0, 10);
  options.kind = LrScheduleKind::kCosineWithMinLr;
  options.min_lr = 0.1;
  EXPECT_DOUBLE_EQ(LearningRateAt(options, 0), 1);
  EXPECT_NEAR(LearningRateAt(options, 5), 0.55, 1e-12);
  EXPECT_NEAR(LearningRateAt(options, 10), 0.1, 1e-12);
}

TEST(LrScheduleTest, Validate_NamesWhatIsMissing) {
  const struct {
    LrScheduleKind kind;
    const char* name;
  } cases[] = {{LrScheduleKind::kLinear, "num_training_steps"},
               {LrScheduleKind::kCosine, "num_training_steps"},
               {LrScheduleKind::kLinearTo, "lr_end"}};
  for (const auto& c : cases) {
    LrScheduleOptions options;
    options.kind = c.kind;
    EXPECT_NE(ValidateLrSchedule(options).message().find(c.name), absl::string_view::npos);
  }
  LrScheduleOptions cosine = Linear(0, 10);
  cosine.kind = LrScheduleKind::kCosineWithMinLr;
  EXPECT_NE(ValidateLrSchedule(cosine).message().find("min_lr"), absl::string_view::npos);
  cosine.min_lr = 2;
  EXPECT_NE(ValidateLrSchedule(cosine).message().find("from 0 to lr"), absl::string_view::npos);
  LrScheduleOptions constant;
  constant.kind = LrScheduleKind::kConstant;
  EXPECT_TRUE(ValidateLrSchedule(constant).ok());
}

TEST(LrScheduleTest, Parse_Unknown_ListsTheKnown) {
  EXPECT_TRUE(ParseLrScheduleKind("cosine").ok());
  EXPECT_NE(ParseLrScheduleKind("polynomial").status().message().find("cosine_with_min_lr"),
            absl::string_view::npos);
}

}  // namespace
}  // namespace retort::objective
