#include "common/base/failpoint.h"

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(FailpointTest, Unarmed_Ok) { EXPECT_TRUE(Failpoint("nobody.armed.this").ok()); }

TEST(FailpointTest, ErrorAtHit_OnlyThatHitFails) {
  ASSERT_TRUE(ArmFailpoints({"a.b=error@2"}).ok());
  EXPECT_TRUE(Failpoint("a.b").ok());
  EXPECT_FALSE(Failpoint("a.b").ok());
  EXPECT_TRUE(Failpoint("a.b").ok());
}

TEST(FailpointTest, Kill_ProcessDiesBySigkill) {
  EXPECT_EXIT(
      {
        (void)ArmFailpoints({"die=kill"});
        (void)Failpoint("die");
      },
      testing::KilledBySignal(SIGKILL), "");
}

TEST(FailpointTest, BadSpec_NamesThePart) {
  EXPECT_EQ(ArmFailpoints({"x=explode"}).message(),
            "--failpoint=x=explode: action \"explode\" is not kill, stop or error");
  EXPECT_FALSE(ArmFailpoints({"x=kill@0"}).ok());
}

}  // namespace
}  // namespace retort
