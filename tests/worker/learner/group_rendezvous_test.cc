#include "worker/learner/group_rendezvous.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

v1::FormGroup Group(uint64_t epoch, int64_t generation) {
  v1::FormGroup group;
  group.set_epoch(epoch);
  group.set_generation(generation);
  group.set_world_size(2);
  group.set_rank(1);
  return group;
}
v1::DriverMessage Forms(const v1::FormGroup& group) {
  v1::DriverMessage message;
  *message.mutable_form_group() = group;
  return message;
}
v1::DriverMessage Identifies(const v1::FormGroup& group, char letter) {
  gpu::NcclId id;
  id.bytes.fill(letter);
  v1::DriverMessage message;
  *message.mutable_group_identity() = IdentityOf(group, id);
  return message;
}

class GroupRendezvousTest : public testing::Test {
 protected:
  void Arrive(const v1::DriverMessage& message) { rendezvous_.OnArrival(&message); }
  absl::StatusOr<gpu::NcclId> Await(const v1::FormGroup& group,
                                    absl::Duration deadline = absl::Seconds(30)) {
    return rendezvous_.AwaitIdentity(group, deadline);
  }

  GroupRendezvous rendezvous_;
};

TEST_F(GroupRendezvousTest, IdentityThatCameBefore_IsThere) {
  Arrive(Forms(Group(1, 1)));
  Arrive(Identifies(Group(1, 1), 'a'));
  const auto id = Await(Group(1, 1));
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->bytes[0], 'a');
  EXPECT_EQ(id->bytes[127], 'a');
}

TEST_F(GroupRendezvousTest, IdentityThatComesLater_WakesTheWaiter) {
  Arrive(Forms(Group(1, 1)));
  std::thread driver([&] { Arrive(Identifies(Group(1, 1), 'b')); });
  const auto id = Await(Group(1, 1));
  driver.join();
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->bytes[0], 'b');
}

TEST_F(GroupRendezvousTest, IdentityOfAnotherGroup_IsDropped) {
  Arrive(Forms(Group(2, 5)));
  for (const auto& [epoch, generation] :
       {std::pair{uint64_t{2}, int64_t{4}}, {2, 6}, {1, 5}, {3, 5}}) {
    Arrive(Identifies(Group(epoch, generation), 'x'));
  }
  EXPECT_EQ(Await(Group(2, 5), absl::Milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Await(Group(2, 5), absl::Milliseconds(1)).status().ToString(),
              HasSubstr("learner-1: no identity of the group came from learner-0 within 1ms"));
}

TEST_F(GroupRendezvousTest, NewerGroup_EndsTheWaitAndForgetsTheIdentity) {
  Arrive(Forms(Group(1, 1)));
  Arrive(Identifies(Group(1, 1), 'a'));
  std::thread driver([&] { Arrive(Forms(Group(2, 2))); });
  driver.join();
  EXPECT_EQ(Await(Group(1, 1)).status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(rendezvous_.StillWanted(Group(1, 1)).ToString(),
              HasSubstr("the driver forms a new group"));
  EXPECT_TRUE(rendezvous_.StillWanted(Group(2, 2)).ok());
  EXPECT_EQ(Await(Group(2, 2), absl::Milliseconds(10)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(GroupRendezvousTest, OlderGroupArrivesAgain_ChangesNothing) {
  Arrive(Forms(Group(2, 2)));
  Arrive(Identifies(Group(2, 2), 'a'));
  Arrive(Forms(Group(1, 9)));
  Arrive(Forms(Group(2, 2)));
  EXPECT_TRUE(Await(Group(2, 2)).ok());
}

TEST_F(GroupRendezvousTest, SessionStops_EndsTheWait) {
  Arrive(Forms(Group(1, 1)));
  std::thread session([&] { rendezvous_.OnArrival(nullptr); });
  EXPECT_EQ(Await(Group(1, 1)).status().code(), absl::StatusCode::kAborted);
  session.join();
  EXPECT_FALSE(rendezvous_.StillWanted(Group(1, 1)).ok());
}

TEST_F(GroupRendezvousTest, IdentityOfAnotherLength_Refused) {
  Arrive(Forms(Group(1, 1)));
  v1::DriverMessage message = Identifies(Group(1, 1), 'a');
  message.mutable_group_identity()->set_id("short");
  Arrive(message);
  EXPECT_THAT(Await(Group(1, 1)).status().ToString(), HasSubstr("5 bytes, expected 128"));
}

}  // namespace
}  // namespace retort::worker
