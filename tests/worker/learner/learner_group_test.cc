// Groups over NCCL as the driver's commands make them, with a driver that only relays.
#include "worker/learner/learner_group.h"

#include <thread>

#include "common/collective/nccl_ranks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class LearnerGroupTest : public testing::Test {
 protected:
  static constexpr int kRanks = 3;

  v1::FormGroup Command(int rank, int64_t generation) const {
    v1::FormGroup command;
    command.set_epoch(1);
    command.set_generation(generation);
    command.set_world_size(kRanks);
    command.set_rank(rank);
    command.set_collective(v1::COLLECTIVE_KIND_NCCL);
    return command;
  }
  void Arrive(int rank, const v1::FormGroup& command) {
    v1::DriverMessage message;
    *message.mutable_form_group() = command;
    rendezvous_[rank].OnArrival(&message);
  }
  GroupPlace Place(int rank) {
    GroupPlace place;
    place.gpu = &plugins_[rank];
    place.rendezvous = &rendezvous_[rank];
    place.announce = [this](const v1::GroupIdentity& identity) {
      v1::DriverMessage message;
      *message.mutable_group_identity() = identity;
      for (int other = 1; other < kRanks; ++other) rendezvous_[other].OnArrival(&message);
      return absl::OkStatus();
    };
    place.end_process = [](const std::string& why) { ADD_FAILURE() << why; };
    return place;
  }
  // Forms the group on every rank, each in a thread, and sums their numbers.
  std::vector<std::string> FormAll(int64_t generation) {
    std::vector<std::string> results(kRanks);
    std::vector<std::thread> threads;
    for (int r = 0; r < kRanks; ++r) Arrive(r, Command(r, generation));
    for (int r = 0; r < kRanks; ++r) {
      threads.emplace_back([&, r] {
        auto group = MakeLearnerGroup(Command(r, generation), Place(r));
        if (!group.ok()) {
          results[r] = group.status().ToString();
          return;
        }
        const at::Tensor sum = at::full({1}, r, at::kLong);
        results[r] = (*group)->AllReduceSum(sum).ToString();
        results[r] += std::to_string(sum.item<int64_t>());
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  collective::NcclWorld world_{kRanks};
  gpu::Plugin plugins_[kRanks] = {{&world_.rank(0).gpu, &world_.rank(0).nccl},
                                  {&world_.rank(1).gpu, &world_.rank(1).nccl},
                                  {&world_.rank(2).gpu, &world_.rank(2).nccl}};
  GroupRendezvous rendezvous_[kRanks];
};

TEST_F(LearnerGroupTest, Nccl_EveryGeneration_FormsByRank0sIdentity) {
  for (const int64_t generation : {1, 2}) {
    EXPECT_THAT(FormAll(generation), testing::Each("OK3")) << "generation " << generation;
  }
  world_.ExpectClean();
}

// Rank 2 is told of a newer group while it waits for the identity, ranks 0 and 1 while they join.
TEST_F(LearnerGroupTest, Nccl_NewerGroupArrives_RanksGiveUpAndFormThatOne) {
  std::vector<absl::Status> results(kRanks);
  std::vector<std::thread> threads;
  for (int r = 0; r < kRanks; ++r) Arrive(r, Command(r, 1));
  for (int r = 0; r < kRanks; ++r) {
    threads.emplace_back([&, r] {
      GroupPlace place = Place(r);
      place.announce = [this](const v1::GroupIdentity& identity) {  // Not to rank 2.
        v1::DriverMessage message;
        *message.mutable_group_identity() = identity;
        rendezvous_[1].OnArrival(&message);
        return absl::OkStatus();
      };
      results[r] = MakeLearnerGroup(Command(r, 1), place).status();
    });
  }
  for (int r = 0; r < kRanks; ++r) Arrive(r, Command(r, 2));
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : results) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_THAT(status.ToString(), HasSubstr("the driver forms a new group"));
  }
  EXPECT_THAT(FormAll(3), testing::Each("OK3"));
  world_.ExpectClean();
}

TEST_F(LearnerGroupTest, Nccl_SessionStops_EndsTheWait) {
  Arrive(1, Command(1, 1));
  rendezvous_[1].OnArrival(nullptr);
  const absl::Status status = MakeLearnerGroup(Command(1, 1), Place(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(status.ToString(), HasSubstr("asked to stop"));
}

TEST_F(LearnerGroupTest, Nccl_DriverIsGone_Rank0SaysSo) {
  Arrive(0, Command(0, 1));
  GroupPlace place = Place(0);
  place.announce = [](const v1::GroupIdentity&) { return absl::UnavailableError("no driver"); };
  EXPECT_EQ(MakeLearnerGroup(Command(0, 1), place).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LearnerGroupTest, Nccl_RefusedByNccl_SaysWhatToDo) {
  v1::FormGroup command = Command(0, 1);
  command.set_world_size(1);
  Arrive(0, command);
  world_.rank(0).nccl.RefuseAt(1, absl::InvalidArgumentError("Duplicate GPU detected"));
  const absl::Status status = MakeLearnerGroup(command, Place(0)).status();
  EXPECT_THAT(status.ToString(), HasSubstr("Duplicate GPU detected"));
  EXPECT_THAT(status.ToString(), HasSubstr("cluster.learner.collective: shm"));
}

TEST_F(LearnerGroupTest, Nccl_WithoutAGpu_FailedPrecondition) {
  GroupPlace place = Place(0);
  place.gpu = nullptr;
  EXPECT_EQ(MakeLearnerGroup(Command(0, 1), place).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(LearnerGroupTest, RankAloneOnAGpu_BuffersAreTheGpus) {
  v1::FormGroup command = Command(0, 1);
  command.set_world_size(1);
  command.set_collective(v1::COLLECTIVE_KIND_SHM);
  const auto group = MakeLearnerGroup(command, Place(0));
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_FALSE((*group)->overlaps());
  const at::Tensor buffer = (*group)->AllocateBuffer(10).value();
  EXPECT_EQ(world_.rank(0).gpu.allocations(), 1);
  EXPECT_TRUE((*group)->AllReduceSum(buffer).ok());
}

}  // namespace
}  // namespace retort::worker
