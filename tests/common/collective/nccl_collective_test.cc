// How a group over NCCL forms, fails and ends, and what is in which stream when.
#include "common/collective/nccl_collective.h"

#include <atomic>
#include <cstring>

#include "common/collective/gate.h"
#include "common/collective/nccl_ranks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::collective {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Text(const absl::Status& status) { return status.ToString(); }

// Runs `body` as each rank of a group of its own, in a thread.
std::vector<absl::Status> OnRanks(NcclWorld& world, const CollectiveOptions& options,
                                  const std::function<absl::Status(Collective&)>& body) {
  std::vector<absl::Status> results(world.size());
  EXPECT_THAT(world.Run(options,
                        [&](Collective& group) {
                          results[group.rank()] = body(group);
                          return std::string();
                        }),
              Each(IsEmpty()));
  return results;
}

TEST(NcclJoinTest, RankThatNeverComes_DeadlineNamesTheJoinAndTheCommunicatorIsAborted) {
  NcclWorld world(2);
  const auto group =
      MakeNcclCollective(world.Group(0, world.NewId(), {.join_deadline = absl::Milliseconds(100)}));
  EXPECT_EQ(group.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Text(group.status()), HasSubstr("rank 0: join"));
  EXPECT_THAT(Text(group.status()), HasSubstr("within 100ms"));
  EXPECT_EQ(world.rank(0).nccl.aborted(), 1);
  world.ExpectClean();
}

TEST(NcclJoinTest, KeepWaitingSaysNo_EndsWithItsReason) {
  NcclWorld world(2);
  NcclGroup group = world.Group(0, world.NewId());
  int asked = 0;
  group.keep_waiting = [&] {
    return ++asked < 3 ? absl::OkStatus() : absl::AbortedError("the driver forms a new group");
  };
  const auto joined = MakeNcclCollective(group);
  EXPECT_EQ(joined.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Text(joined.status()), HasSubstr("the driver forms a new group"));
  EXPECT_EQ(world.rank(0).nccl.aborted(), 1);
  world.ExpectClean();
}

TEST(NcclJoinTest, IdOfAGroupThatWas_Refused) {
  NcclWorld world(1);
  const gpu::NcclId id = world.NewId();
  ASSERT_TRUE(MakeNcclCollective(world.Group(0, id)).ok());
  const auto again = MakeNcclCollective(world.Group(0, id));
  EXPECT_EQ(again.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Text(again.status()), HasSubstr("rank 0: join"));
  EXPECT_THAT(Text(again.status()), HasSubstr("stale id"));
  const auto unknown = MakeNcclCollective(world.Group(0, gpu::NcclId{}));
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInternal);
  world.ExpectClean();
}

TEST(NcclJoinTest, BadPlace_InvalidArgument) {
  NcclWorld world(1);
  NcclGroup group = world.Group(0, world.NewId());
  group.rank = 1;
  EXPECT_EQ(MakeNcclCollective(group).status().code(), absl::StatusCode::kInvalidArgument);
  group.rank = 0;
  group.gpu.nccl = nullptr;
  EXPECT_EQ(MakeNcclCollective(group).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(NcclJoinTest, RankWithoutMemory_ResourceExhaustedAndPeersSeeADeadline) {
  NcclWorld world(2);
  world.rank(1).gpu.FailCall(gpu::Call::kAllocate, 1, absl::ResourceExhaustedError("none left"));
  const auto said = world.Run({.deadline = absl::Milliseconds(200)},
                              [](Collective&) { return std::string("joined"); });
  EXPECT_THAT(said[0], HasSubstr("DEADLINE_EXCEEDED"));
  EXPECT_THAT(said[1], HasSubstr("RESOURCE_EXHAUSTED: none left"));
  world.ExpectClean();
}

// Operation 1 of a communicator is the join; each all-reduce of the device is two: agree, sum.
TEST(NcclFailureTest, OperationHangs_DeadlineNamesRankOperationAndNumber) {
  NcclWorld world(2);
  const auto results =
      OnRanks(world, {.deadline = absl::Milliseconds(200)}, [&](Collective& group) {
        absl::Status first = group.Barrier();
        if (!first.ok()) return first;
        if (group.rank() == 0) world.network().HangOperation(3);
        first = group.AllReduceSum(at::ones({4}));
        // The first error stays, for every operation.
        EXPECT_EQ(group.Barrier(), first);
        EXPECT_EQ(group.AllGatherVariable("x").status(), first);
        EXPECT_EQ(group.WaitAll(), first);
        EXPECT_EQ(group.AllocateBuffer(4).status(), first);
        return first;
      });
  for (int r = 0; r < 2; ++r) {
    EXPECT_EQ(results[r].code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(Text(results[r]),
                HasSubstr(absl::StrCat("rank ", r, ": all_reduce #2 did not end within 200ms")));
    EXPECT_EQ(world.rank(r).nccl.aborted(), 1);
    EXPECT_EQ(world.rank(r).nccl.destroyed(), 0);
  }
  world.ExpectClean();
}

TEST(NcclFailureTest, NcclReportsAnError_InternalWithItsTextOnThatRank) {
  NcclWorld world(2);
  world.rank(1).nccl.ReportAt(2, absl::InternalError("remote process exited"));
  const auto results = OnRanks(world, {.deadline = absl::Milliseconds(200)},
                               [](Collective& group) { return group.AllReduceSum(at::ones({4})); });
  EXPECT_EQ(results[0].code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(results[1].code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Text(results[1]), HasSubstr("rank 1: all_reduce #1: remote process exited"));
  EXPECT_EQ(world.rank(1).nccl.aborted(), 1);
  world.ExpectClean();
}

// INVALID_ARGUMENT would say that the group is whole, but the peers are inside the operation.
TEST(NcclFailureTest, NcclRefusesACall_InternalAndTheGroupIsBroken) {
  NcclWorld world(2);
  world.rank(0).nccl.RefuseAt(2, absl::InvalidArgumentError("invalid argument: sendbuff"));
  const auto results = OnRanks(world, {.deadline = absl::Milliseconds(200)}, [](Collective& group) {
    const absl::Status status = group.Barrier();
    EXPECT_EQ(group.Barrier(), status);
    return status;
  });
  EXPECT_EQ(results[0].code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Text(results[0]), HasSubstr("rank 0: barrier #1: invalid argument: sendbuff"));
  EXPECT_EQ(results[1].code(), absl::StatusCode::kDeadlineExceeded);
  world.ExpectClean();
}

TEST(NcclFailureTest, TheGpuFails_InternalAndTheGroupIsBroken) {
  NcclWorld world(1);
  const auto results = OnRanks(world, {}, [&](Collective& group) {
    world.rank(0).gpu.FailCall(gpu::Call::kCopy, 1, absl::InternalError("an illegal access"));
    return group.Barrier();
  });
  EXPECT_EQ(results[0].code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Text(results[0]), HasSubstr("rank 0: barrier #1: an illegal access"));
  EXPECT_EQ(world.rank(0).nccl.aborted(), 1);
}

TEST(NcclFailureTest, AbortFromAnotherThread_WakesTheRankInsideAnOperation) {
  NcclWorld world(2);
  world.network().HangOperation(2);
  const auto results = OnRanks(world, {.deadline = absl::Minutes(10)}, [](Collective& group) {
    std::thread other([&] { group.Abort("the driver forms a new group"); });
    const absl::Status status = group.Barrier();
    other.join();
    return status;
  });
  for (int r = 0; r < 2; ++r) {
    EXPECT_EQ(results[r].code(), absl::StatusCode::kAborted);
    EXPECT_EQ(std::string(results[r].message()),
              absl::StrCat("rank ", r, " aborted the group: the driver forms a new group"));
    EXPECT_EQ(world.rank(r).nccl.aborted(), 1);
  }
  world.ExpectClean();
}

TEST(NcclFailureTest, AbortOfAnIdleGroup_TakesEffectAndReasonsAreCut) {
  NcclWorld world(1);
  const auto results = OnRanks(world, {}, [](Collective& group) {
    group.Abort(std::string(1000, 'x'));
    group.Abort("second");
    return group.Barrier();
  });
  EXPECT_EQ(std::string(results[0].message()),
            "rank 0 aborted the group: " + std::string(256, 'x'));
  world.ExpectClean();
}

TEST(NcclFailureTest, NewGroupAfterAnAbort_Works) {
  NcclWorld world(3);
  world.network().HangOperation(2);
  for (const absl::Status& status : OnRanks(world, {.deadline = absl::Milliseconds(100)},
                                            [](Collective& group) { return group.Barrier(); })) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  }
  world.network().HangNothing();
  for (const absl::Status& status : OnRanks(world, {}, [](Collective& group) {
         const at::Tensor ones = at::ones({1000});
         const absl::Status sum = group.AllReduceSum(ones);
         EXPECT_TRUE(ones.eq(3).all().item<bool>());
         return sum;
       })) {
    EXPECT_TRUE(status.ok()) << status;
  }
  world.ExpectClean();
}

// A fake that a helper thread may still use when the test is over. Kept, not lost.
NcclWorld& LeftBehind(int world_size) {
  static auto* const worlds = new std::vector<std::unique_ptr<NcclWorld>>;
  return *worlds->emplace_back(std::make_unique<NcclWorld>(world_size));
}

TEST(NcclFailureTest, AbortThatHangs_TheProcessEnds) {
  NcclWorld& world = LeftBehind(1);
  NcclGroup place = world.Group(0, world.NewId());
  place.abort_limit = absl::Milliseconds(100);
  auto group = MakeNcclCollective(place);
  ASSERT_TRUE(group.ok()) << group.status();
  world.rank(0).nccl.HangEnds();
  (*group)->Abort("bad luck");
  EXPECT_EQ((*group)->Barrier().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(world.ends(),
              ElementsAre("rank 0: NCCL's end of a communicator did not return within 100ms"));
  group->reset();
  EXPECT_EQ(world.ends().size(), 1u);
  world.rank(0).nccl.ReleaseEnds();
}

TEST(NcclFailureTest, DestroyThatHangs_TheProcessEnds) {
  NcclWorld& world = LeftBehind(1);
  NcclGroup place = world.Group(0, world.NewId());
  place.abort_limit = absl::Milliseconds(100);
  auto group = MakeNcclCollective(place);
  ASSERT_TRUE(group.ok()) << group.status();
  world.rank(0).nccl.HangEnds();
  group->reset();
  EXPECT_EQ(world.ends().size(), 1u);
  world.rank(0).nccl.ReleaseEnds();
}

// A kernel that does not end although the communicator is gone.
TEST(NcclFailureTest, StreamThatStaysBusyAfterAnAbort_TheProcessEnds) {
  NcclWorld& world = LeftBehind(1);
  NcclGroup place = world.Group(0, world.NewId(), {.deadline = absl::Milliseconds(50)});
  place.abort_limit = absl::Milliseconds(100);
  auto group = MakeNcclCollective(place);
  ASSERT_TRUE(group.ok()) << group.status();
  const at::Tensor buffer = (*group)->AllocateBuffer(8).value();
  world.rank(0).gpu.HoldStream(nullptr);  // The sum waits for what was computed before it.
  EXPECT_EQ((*group)->AllReduceSum(buffer).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(world.ends().size(), 1u);
  world.rank(0).gpu.ReleaseStream(nullptr);
}

TEST(NcclAgreementTest, OtherOperationNumberOrRoot_FailedPreconditionOnEveryRank) {
  using Body = std::function<absl::Status(Collective&)>;
  const Body bodies[] = {
      [](Collective& group) {
        return group.rank() == 0 ? group.Barrier() : group.AllReduceSum(at::ones({2}));
      },
      [](Collective& group) { return group.Broadcast(at::ones({2}), group.rank()); },
      [](Collective& group) { return group.AllReduceSum(at::ones({300 + group.rank()})); },
      [](Collective& group) {
        return group.AllReduceSum(group.rank() == 0 ? at::ones({300}) : at::ones({300}, at::kLong));
      },
      [](Collective& group) { return group.AllocateBuffer(10 + group.rank()).status(); },
  };
  for (const Body& body : bodies) {
    NcclWorld world(2);
    for (const absl::Status& status : OnRanks(world, {}, body)) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_THAT(Text(status), HasSubstr("the ranks call different operations"));
    }
    world.ExpectClean();
  }
}

// Sums that are begun are not checked at once: NCCL itself may let them pass.
TEST(NcclAgreementTest, OtherSumsBegunBefore_FoundByTheNextOperation) {
  NcclWorld world(2);
  world.network().EndMismatches();
  const auto results = OnRanks(world, {}, [](Collective& group) {
    const at::Tensor buffer = group.AllocateBuffer(10).value();
    EXPECT_TRUE(group.StartAllReduceSum(buffer.narrow(0, 0, 4 + group.rank())).ok());
    EXPECT_TRUE(group.WaitAll().ok());
    return group.Barrier();
  });
  for (const absl::Status& status : results) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Text(status), HasSubstr("both in barrier #3"));
  }
}

TEST(NcclBufferTest, RankWithoutMemory_EveryRankHears) {
  NcclWorld world(2);
  const auto results = OnRanks(world, {}, [&](Collective& group) {
    if (group.rank() == 1) {
      world.rank(1).gpu.FailCall(gpu::Call::kAllocate, 1, absl::ResourceExhaustedError("full"));
    }
    return group.AllocateBuffer(100).status();
  });
  EXPECT_EQ(results[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Text(results[0]), HasSubstr("rank 1 has no memory for the buffer"));
  EXPECT_EQ(results[1].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Text(results[1]), HasSubstr("full"));
  world.ExpectClean();
}

TEST(NcclBufferTest, GroupDestroyed_StillThere) {
  NcclWorld world(1);
  at::Tensor buffer;
  OnRanks(world, {}, [&](Collective& group) {
    buffer = group.AllocateBuffer(100).value();
    return absl::OkStatus();
  });
  buffer.fill_(2.0f);
  EXPECT_EQ(buffer.sum().item<float>(), 200.0f);
  EXPECT_EQ(world.rank(0).gpu.allocations(), 1);
  buffer.reset();
  world.ExpectClean();
}

TEST(NcclDeviceTest, GatherAndBroadcast_OfTensorsOnTheGpu_AreNotStaged) {
  NcclWorld world(3);
  OnRanks(world, {}, [&](Collective& group) {
    const at::Tensor buffer = group.AllocateBuffer(5000).value();
    buffer.fill_(group.rank());
    const int64_t copies = world.rank(group.rank()).gpu.calls(gpu::Call::kCopy);
    const at::Tensor all = group.AllGather(buffer).value();
    EXPECT_TRUE(all.equal(at::arange(3, at::kFloat).unsqueeze(1).expand({3, 5000})));
    const absl::Status status = group.Broadcast(buffer, 2);
    EXPECT_TRUE(buffer.eq(2).all().item<bool>());
    // Two blocks in, two blocks out: the agreements alone.
    EXPECT_EQ(world.rank(group.rank()).gpu.calls(gpu::Call::kCopy) - copies, 4);
    return status;
  });
  world.ExpectClean();
}

TEST(NcclOverlapTest, StartedSum_WaitsForTheComputeStreamAndNotTheCaller) {
  NcclWorld world(2);
  Gate both_started;
  std::atomic<int> started{0};
  OnRanks(world, {}, [&](Collective& group) {
    EXPECT_TRUE(group.overlaps());
    gpu::FakeGpu& gpu = world.rank(group.rank()).gpu;
    const at::Tensor buffer = group.AllocateBuffer(6).value();
    const at::Tensor computed = at::full({6}, 1 + group.rank(), at::kFloat);
    gpu.HoldStream(nullptr);
    EXPECT_TRUE(gpu.Copy(buffer.data_ptr(), computed.data_ptr(), 24, nullptr).ok());
    const int64_t before = world.network().ended_operations();
    EXPECT_TRUE(group.StartAllReduceSum(buffer.narrow(0, 0, 4)).ok());
    EXPECT_TRUE(group.StartAllReduceSum(buffer.narrow(0, 4, 2)).ok());
    if (++started == 2) both_started.Open();
    both_started.Wait();
    EXPECT_EQ(world.network().ended_operations(), before);
    gpu.ReleaseStream(nullptr);
    const absl::Status status = group.WaitAll();
    EXPECT_TRUE(buffer.eq(3).all().item<bool>()) << buffer.sum().item<float>();
    return status;
  });
  world.ExpectClean();
}

TEST(NcclOverlapTest, SumThatHangs_WaitAllNamesIt) {
  NcclWorld world(2);
  const auto results =
      OnRanks(world, {.deadline = absl::Milliseconds(200)}, [&](Collective& group) {
        const at::Tensor buffer = group.AllocateBuffer(6).value();
        world.network().HangOperation(5);  // Join, two of the buffer, the first sum, this one.
        EXPECT_TRUE(group.StartAllReduceSum(buffer.narrow(0, 0, 4)).ok());
        EXPECT_TRUE(group.StartAllReduceSum(buffer.narrow(0, 4, 2)).ok());
        return group.WaitAll();
      });
  for (const absl::Status& status : results) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(Text(status), HasSubstr("all_reduce #3 did not end"));
  }
  world.ExpectClean();
}

TEST(NcclOverlapTest, GroupEndsWithSumsUnderWay_TheyAreAborted) {
  NcclWorld world(1);
  world.network().HangOperation(4);
  at::Tensor buffer;
  OnRanks(world, {}, [&](Collective& group) {
    buffer = group.AllocateBuffer(6).value();
    return group.StartAllReduceSum(buffer);
  });
  EXPECT_EQ(world.rank(0).nccl.aborted(), 1);
  buffer.reset();
  world.ExpectClean();
}

}  // namespace
}  // namespace retort::collective
