// Buckets where LibTorch has a device of its own: autograd calls the hooks from the device's
// thread.
#include <algorithm>
#include <thread>

#include "common/collective/nccl_ranks.h"
#include "common/collective/staged_collective.h"
#include "gmock/gmock.h"
#include "testing/pretend_device.h"
#include "worker/learner/gradient_buckets.h"
#include "worker/learner/ppo_step.h"
#include "worker/learner/rank_fixture.h"
#include "worker/learner/trainer_checkpoint.h"

namespace retort::worker {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;

constexpr int kRanks = 2;

class GradientBucketsDeviceTest : public testing::Test {
 protected:
  GradientBucketsDeviceTest() { spec_.mutable_optimizer()->set_micro_batch_tokens(16); }

  // A PPO step over `group` with the model on the device.
  Digest Step(const std::shared_ptr<collective::Collective>& group, const PolicyPlace& place) {
    const std::unique_ptr<Rank> rank =
        MakeRank(group, &spec_, &policy_, PolicyModel(policy_.config, place), weights_,
                 /*bucket_elements=*/96);
    rank->model->Round();
    EXPECT_FALSE(rank->model->gradients.flat().is_cpu());
    checkpoint::TrainerState state;
    state.kl_coef = spec_.algorithm().ppo().init_kl_coef();
    StepClock clock;
    const auto outcome = RunPpoStep(rank->context, PpoSettingsOf(spec_), samples_, state, &clock);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_FALSE(outcome.ok() && outcome->bad);
    return outcome.ok() ? StateDigest(*rank->model, outcome->state) : Digest{};
  }

  std::vector<Digest> OverNccl(const PolicyPlace& place) {
    collective::NcclWorld world(kRanks, collective::TorchSees::kPretendDevice);
    std::vector<Digest> digests(kRanks);
    EXPECT_THAT(world.Run({},
                          [&](collective::Collective& group) {
                            digests[group.rank()] = Step({&group, [](auto*) {}}, place);
                            return std::string();
                          }),
                Each(IsEmpty()));
    world.ExpectClean();
    return digests;
  }

  std::vector<Digest> ThroughTheHost(const PolicyPlace& place) {
    std::vector<gpu::FakeGpu> gpus(kRanks);
    auto groups = collective::MakeLocalGroup(kRanks);
    std::vector<Digest> digests(kRanks);
    std::vector<std::thread> threads;
    for (int r = 0; r < kRanks; ++r) {
      threads.emplace_back([&, r] {
        auto group = collective::StageThroughHost(std::move((*groups)[r]), &gpus[r], 0, {});
        ASSERT_TRUE(group.ok()) << group.status();
        digests[r] = Step(*std::move(group), place);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return digests;
  }

  const PolicyText policy_ = tiny::TinyPolicy();
  v1::JobSpec spec_ = tiny::TinyPpoSpec(/*prompts=*/4, /*samples_per_prompt=*/2);
  const StepSamples samples_ = RandomSamples(spec_, policy_, 0);
  const tensor::ParameterArena weights_ = tiny::RandomArena(policy_.config, true, 3);
};

TEST_F(GradientBucketsDeviceTest, PpoStep_OverNcclAndThroughTheHost_SameBitsOnEveryRank) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const PolicyPlace place{pretend::Device(), type};
    const std::vector<Digest> digests = OverNccl(place);
    EXPECT_EQ(digests[0], digests[1]);
    EXPECT_EQ(ThroughTheHost(place), digests) << at::toString(type);
  }
}

TEST_F(GradientBucketsDeviceTest, Group_TensorsOfCpuAndDevice_StayWhereTheyAre) {
  collective::NcclWorld world(kRanks, collective::TorchSees::kPretendDevice);
  const auto failures = world.Run({}, [&](collective::Collective& group) -> std::string {
    const at::Tensor buffer = group.AllocateBuffer(100).value();
    if (buffer.device() != pretend::Device()) return "the buffer is on " + buffer.device().str();
    if (!buffer.cpu().eq(0).all().item<bool>()) return "the buffer is not zero";
    buffer.fill_(group.rank() + 1);
    if (!group.AllReduceSum(buffer).ok() || !buffer.cpu().eq(3).all().item<bool>()) return "sum";
    const at::Tensor flags = at::ones({2000}, at::kLong);
    if (!group.AllReduceSum(flags).ok() || !flags.eq(2).all().item<bool>()) return "CPU sum";
    const auto rows = group.AllGatherRows(at::full({group.rank(), 2}, 7.0).to(pretend::Device()));
    if (!rows.ok() || (*rows)[1].device() != pretend::Device()) return "rows";
    if (!(*rows)[1].cpu().equal(at::full({1, 2}, 7.0))) return "values of rows";
    return absl::IsInvalidArgument(group.AllReduceSum(at::ones({2}).to(at::kMeta))) ? "" : "meta";
  });
  EXPECT_THAT(failures, Each(IsEmpty()));
  world.ExpectClean();
}

}  // namespace
}  // namespace retort::worker
