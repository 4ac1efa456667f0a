#include "common/collective/local_group.h"

#include <thread>
#include <tuple>

#include "common/collective/collective_contract.h"
#include "common/collective/gate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::collective {
namespace {

using ::testing::HasSubstr;

// Runs `body` as every rank, each in a thread; returns what each said.
std::vector<std::string> RunRanks(int world_size, const CollectiveOptions& options,
                                  const std::function<std::string(Collective&)>& body) {
  auto ranks = MakeLocalGroup(world_size, options);
  if (!ranks.ok()) return {ranks.status().ToString()};
  std::vector<std::string> results(world_size);
  std::vector<std::thread> threads;
  for (int r = 0; r < world_size; ++r) {
    threads.emplace_back([&, r] { results[r] = body(*(*ranks)[r]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

class LocalContractTest : public testing::TestWithParam<std::tuple<ContractCase, int>> {};

TEST_P(LocalContractTest, Contract_EachCase_EveryRankPasses) {
  const auto& [contract, world_size] = GetParam();
  if (world_size < contract.min_world_size) return;
  Gate gate;
  const ContractWorld world{.hold = [&] { gate.Wait(); }, .release = [&] { gate.Open(); }};
  const CollectiveOptions options{.deadline = contract.deadline};
  const auto body = [&contract = contract, &world](Collective& group) {
    return contract.body(group, world);
  };
  EXPECT_THAT(RunRanks(world_size, options, body), testing::Each(testing::IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(Worlds, LocalContractTest,
                         testing::Combine(testing::ValuesIn(ContractCases()),
                                          testing::Values(1, 2, 3, 4)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(LocalGroupTest, Operation_PeerLeft_Unavailable) {
  auto ranks = MakeLocalGroup(2);
  ASSERT_TRUE(ranks.ok());
  (*ranks)[1].reset();
  const absl::Status status = (*ranks)[0]->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("barrier #1: rank 1 "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("left the group"));
}

TEST(LocalGroupTest, Abort_FromAnotherThreadWhileWaiting_WakesTheWaiter) {
  auto ranks = MakeLocalGroup(2, {.deadline = absl::Minutes(10)});
  ASSERT_TRUE(ranks.ok());
  Collective& waiting = *(*ranks)[0];
  absl::Status status;
  std::thread waiter([&] { status = waiting.Barrier(); });
  waiting.Abort("shutting down");
  waiter.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
}

TEST(LocalGroupTest, Buffer_GroupDestroyed_StillReadable) {
  auto ranks = MakeLocalGroup(1);
  ASSERT_TRUE(ranks.ok());
  absl::StatusOr<at::Tensor> buffer = (*ranks)[0]->AllocateBuffer(1000);
  ASSERT_TRUE(buffer.ok());
  buffer->fill_(2.0f);
  ranks->clear();
  EXPECT_EQ(buffer->sum().item<float>(), 2000.0f);
}

TEST(LocalGroupTest, MakeLocalGroup_NoRanks_InvalidArgument) {
  EXPECT_EQ(MakeLocalGroup(0).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::collective
