// The collective contract over the NCCL backend, with fakes.
#include <algorithm>
#include <tuple>

#include "common/collective/collective_contract.h"
#include "common/collective/gate.h"
#include "common/collective/nccl_ranks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::collective {
namespace {

class NcclContractTest : public testing::TestWithParam<std::tuple<ContractCase, int>> {};

TEST_P(NcclContractTest, Contract_EachCase_EveryRankPasses) {
  const auto& [contract, world_size] = GetParam();
  if (world_size < contract.min_world_size) return;
  Gate gate;
  const ContractWorld world{
      .hold = [&] { gate.Wait(); }, .release = [&] { gate.Open(); }, .peers_hear = false};
  CollectiveOptions options{.deadline = contract.deadline};
  // Peers of a rank that aborts see their deadline.
  if (contract.breaks_group) options.deadline = std::min(options.deadline, absl::Seconds(1));
  NcclWorld ranks(world_size);
  const auto body = [&contract = contract, &world](Collective& group) {
    return contract.body(group, world);
  };
  EXPECT_THAT(ranks.Run(options, body), testing::Each(testing::IsEmpty()));
  ranks.ExpectClean();
}

INSTANTIATE_TEST_SUITE_P(Worlds, NcclContractTest,
                         testing::Combine(testing::ValuesIn(ContractCases()),
                                          testing::Values(1, 2, 3)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace retort::collective
