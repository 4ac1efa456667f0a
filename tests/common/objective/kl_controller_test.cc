#include "common/objective/kl_controller.h"

#include <limits>

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

TEST(KlControllerTest, Update_AboveNearAndBelowTarget_ClippedError) {
  const struct { double current, want; } cases[] = {{12, 0.201024}, {6.3, 0.200256}, {0, 0.198976}};
  for (const auto& c : cases) {
    KlController controller(KlControllerOptions{});
    controller.Update(c.current, 256);
    EXPECT_NEAR(controller.value(), c.want, 1e-12) << c.current;
  }
}

TEST(KlControllerTest, Update_Fixed_KeepsTheValue) {
  KlControllerOptions options;
  options.adaptive = false;
  KlController controller(options);
  controller.Update(100, 1000000);
  EXPECT_EQ(controller.value(), 0.2);
}

TEST(KlControllerTest, Update_NotFinite_KeepsTheValue) {
  KlController controller(KlControllerOptions{});
  controller.Update(std::numeric_limits<double>::quiet_NaN(), 256);
  controller.Update(std::numeric_limits<double>::infinity(), 256);
  EXPECT_EQ(controller.value(), 0.2);
}

TEST(KlControllerTest, Restore_GoesOnFromThere) {
  KlController controller(KlControllerOptions{});
  controller.Restore(0.5);
  EXPECT_EQ(controller.value(), 0.5);
}

}  // namespace
}  // namespace retort::objective
