// Tensors of a fake GPU over a collective of the host.
#include "common/collective/staged_collective.h"

#include <algorithm>
#include <thread>
#include <tuple>

#include "common/collective/collective_contract.h"
#include "common/collective/gate.h"
#include "common/collective/local_group.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_nccl.h"

namespace retort::collective {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Two ranks on one GPU, and the like: every rank has a run-time of its own.
class StagedWorld {
 public:
  explicit StagedWorld(int world_size) : gpus_(world_size) {}

  std::vector<std::string> Run(const CollectiveOptions& options,
                               const std::function<std::string(Collective&)>& body) {
    auto inner = MakeLocalGroup(static_cast<int>(gpus_.size()), options);
    std::vector<std::string> results(gpus_.size());
    std::vector<std::thread> threads;
    for (size_t r = 0; r < gpus_.size(); ++r) {
      threads.emplace_back([&, r] {
        auto group = StageThroughHost(std::move((*inner)[r]), &gpus_[r], 0, options);
        results[r] = group.ok() ? body(**group) : group.status().ToString();
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }
  gpu::FakeGpu& gpu(int rank) { return gpus_[rank]; }
  void ExpectClean() {
    for (gpu::CpuTorchGpu& gpu : gpus_) {
      EXPECT_THAT(gpu.misuses(), IsEmpty());
      EXPECT_EQ(gpu.allocations(), 0);
      EXPECT_EQ(gpu.events(), 0);
    }
  }

 private:
  std::vector<gpu::CpuTorchGpu> gpus_;
};

class StagedContractTest : public testing::TestWithParam<std::tuple<ContractCase, int>> {};

TEST_P(StagedContractTest, Contract_EachCase_EveryRankPasses) {
  const auto& [contract, world_size] = GetParam();
  if (world_size < contract.min_world_size) return;
  Gate gate;
  const ContractWorld world{.hold = [&] { gate.Wait(); }, .release = [&] { gate.Open(); }};
  StagedWorld ranks(world_size);
  const auto body = [&contract = contract, &world](Collective& group) {
    return contract.body(group, world);
  };
  EXPECT_THAT(ranks.Run({.deadline = contract.deadline}, body), Each(IsEmpty()));
  ranks.ExpectClean();
}

INSTANTIATE_TEST_SUITE_P(Worlds, StagedContractTest,
                         testing::Combine(testing::ValuesIn(ContractCases()),
                                          testing::Values(1, 2)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

// More than one piece of the staging memory, from an odd place.
TEST(StagedCollectiveTest, LargeTensorsOfTheGpu_SumGatherBroadcast) {
  StagedWorld world(2);
  EXPECT_THAT(world.Run({},
                        [&](Collective& group) -> std::string {
                          constexpr int64_t kElements = 5'000'001;  // 20 MB; the stage has 16 MiB.
                          const at::Tensor buffer = group.AllocateBuffer(kElements + 3).value();
                          const at::Tensor part = buffer.narrow(0, 3, kElements);
                          const at::Tensor pattern =
                              at::arange(kElements, at::kFloat).remainder(97);
                          part.copy_(pattern * (1 + group.rank()));
                          if (!group.AllReduceSum(part).ok() || !part.equal(pattern * 3)) {
                            return "sum";
                          }
                          if (!buffer.narrow(0, 0, 3).eq(0).all().item<bool>()) return "outside";
                          part.copy_(pattern + group.rank());
                          const at::Tensor all = group.AllGather(part).value();
                          if (!all[0].equal(pattern) || !all[1].equal(pattern + 1)) return "gather";
                          if (!group.Broadcast(part, 1).ok() || !part.equal(pattern + 1)) {
                            return "broadcast";
                          }
                          return "";
                        }),
              Each(IsEmpty()));
  world.ExpectClean();
}

TEST(StagedCollectiveTest, RankAlone_CopiesNothing) {
  StagedWorld world(1);
  EXPECT_THAT(world.Run({},
                        [&](Collective& group) -> std::string {
                          const at::Tensor buffer = group.AllocateBuffer(1000).value();
                          buffer.fill_(3);
                          if (!group.AllReduceSum(buffer).ok()) return "sum";
                          if (world.gpu(0).calls(gpu::Call::kCopy) != 0) return "copied";
                          return buffer.eq(3).all().item<bool>() ? "" : "value";
                        }),
              Each(IsEmpty()));
}

TEST(StagedCollectiveTest, WorkBeforeOnTheComputeStream_IsWaitedFor) {
  StagedWorld world(2);
  EXPECT_THAT(world.Run({},
                        [&](Collective& group) -> std::string {
                          gpu::FakeGpu& gpu = world.gpu(group.rank());
                          const at::Tensor buffer = group.AllocateBuffer(8).value();
                          const at::Tensor computed = at::full({8}, 2, at::kFloat);
                          gpu.HoldStream(nullptr);
                          if (!gpu.Copy(buffer.data_ptr(), computed.data_ptr(), 32, nullptr).ok()) {
                            return "copy";
                          }
                          const int64_t looks = gpu.calls(gpu::Call::kIsDone);
                          std::thread device([&] {
                            while (gpu.calls(gpu::Call::kIsDone) == looks)
                              std::this_thread::yield();
                            gpu.ReleaseStream(nullptr);
                          });
                          const absl::Status sum = group.AllReduceSum(buffer);
                          device.join();
                          return sum.ok() && buffer.eq(4).all().item<bool>() ? "" : "sum";
                        }),
              Each(IsEmpty()));
}

TEST(StagedCollectiveTest, CopyFails_TheRankSaysSoAndTheGroupIsBroken) {
  StagedWorld world(2);
  const auto said = world.Run({}, [&](Collective& group) {
    const at::Tensor buffer = group.AllocateBuffer(8).value();
    if (group.rank() == 0) {
      world.gpu(0).FailCall(gpu::Call::kCopy, 1, absl::InternalError("an illegal access"));
    }
    return group.AllReduceSum(buffer).ToString();
  });
  EXPECT_THAT(said[0], HasSubstr("INTERNAL: rank 0: copying a tensor"));
  EXPECT_THAT(said[0], HasSubstr("an illegal access"));
  EXPECT_THAT(said[1], HasSubstr("ABORTED"));
  EXPECT_THAT(said[1], HasSubstr("an illegal access"));
}

TEST(StagedCollectiveTest, RankWithoutMemory_EveryRankHears) {
  StagedWorld world(2);
  const auto said = world.Run({}, [&](Collective& group) {
    if (group.rank() == 0) {
      world.gpu(0).FailCall(gpu::Call::kAllocate, 1, absl::ResourceExhaustedError("none is left"));
    }
    const absl::Status own = group.AllocateBuffer(8).status();
    return (own.ok() ? group.Barrier() : own).ToString();
  });
  EXPECT_THAT(said[0], HasSubstr("RESOURCE_EXHAUSTED: none is left"));
  EXPECT_THAT(said[1], HasSubstr("none is left"));
}

TEST(StagedCollectiveTest, BuffersOfOtherSizes_FailedPreconditionOnEveryRank) {
  StagedWorld world(2);
  for (const std::string& said : world.Run({}, [](Collective& group) {
         return group.AllocateBuffer(8 + group.rank()).status().ToString();
       })) {
    EXPECT_THAT(said, HasSubstr("FAILED_PRECONDITION"));
  }
}

}  // namespace
}  // namespace retort::collective
