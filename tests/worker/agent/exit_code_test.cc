#include "worker/agent/exit_code.h"

#include "gtest/gtest.h"

namespace retort::worker {
namespace {

TEST(ExitCodeTest, ExitCodeFor_Status_MeaningOfTheCode) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeFor(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::NotFoundError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::OutOfRangeError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::DataLossError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::UnimplementedError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("")), 1);
  EXPECT_EQ(ExitCodeFor(absl::InternalError("")), 1);
}

}  // namespace
}  // namespace retort::worker
