// Policy versions in the memory of a GPU, between a publisher and the installers of workers that
// compute there: over the fake run-time and LibTorch's pretended device.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "testing/fake_gpu.h"
#include "testing/pretend_device.h"
#include "worker/weight_sync/weight_artifact.h"
#include "worker/weight_sync/weight_ring_fixture.h"

namespace retort::worker {
namespace {

using testing::HasSubstr;

class GpuWeightSyncTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    fd_ = UniqueFd(memfd_create("gpu_weight_sync_test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(ftruncate(fd_.get(), ring::WeightRingBytes(shape_)), 0);
    ASSERT_EQ(fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
    gpu_.plugin.api = &api_;
    gpu_.info = api_.Devices()->front();
    gpu_.device = pretend::Device();
  }
  ring::Segment Map() const {
    return *ring::Segment::Map(UniqueFd(dup(fd_.get())), ring::WeightRingBytes(shape_),
                               ring::Access::kReadWrite, "gpu_weight_sync_test");
  }
  std::unique_ptr<Publisher> MakePublisher(uint64_t epoch = 1) {
    auto publisher = Publisher::Open(Map(), policy_, shape_, epoch, &gpu_);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    return *std::move(publisher);
  }
  std::unique_ptr<Installer> MakeInstaller() {
    auto installer = Installer::OnGpu(Map(), policy_, shape_, gpu_, absl::Seconds(5));
    EXPECT_TRUE(installer.ok()) << installer.status();
    return *std::move(installer);
  }
  // Of a version, as the learner has them: on the device.
  at::Tensor Weights(int64_t version) const {
    return tiny::RandomArena(config_, /*value_head=*/true, static_cast<uint64_t>(100 + version))
        .Published()
        .to(gpu_.device)
        .to(GetParam());
  }
  // What a digest is of: fp32, on the host.
  at::Tensor OnHost(int64_t version) const { return Weights(version).cpu().to(at::kFloat); }
  Digest Publish(Publisher& publisher, int64_t version) {
    const auto digest = publisher.Publish(version, Weights(version));
    EXPECT_TRUE(digest.ok()) << digest.status();
    return digest.value_or(Digest{});
  }
  static VersionRequest Request(int64_t version, const Digest& digest) {
    return {.version = version,
            .digest = digest,
            .min_epoch = 1,
            .holder = {},
            .timeout = absl::ZeroDuration()};
  }

  const layout::ModelConfig config_ = tiny::TinyConfig();
  const PolicyModel policy_{config_, {pretend::Device(), GetParam()}};
  const ring::WeightRingShape shape_ =
      WeightRingShapeOf(policy_, /*lag=*/1, ring::TransportKind::kDeviceIpc);
  gpu::FakeGpu api_;
  tensor::GpuDevice gpu_;
  UniqueFd fd_;
};

INSTANTIATE_TEST_SUITE_P(Types, GpuWeightSyncTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

TEST_P(GpuWeightSyncTest, Publish_InTheRingsType_DigestIsOfTheWidenedWeights) {
  EXPECT_EQ(shape_.dtype,
            GetParam() == at::kFloat ? ring::Dtype::kFloat32 : ring::Dtype::kBFloat16);
  const auto publisher = MakePublisher();
  EXPECT_EQ(Publish(*publisher, 0), DigestOfWeights(OnHost(0)));
  const at::Tensor held = publisher->held().front().weights;
  EXPECT_EQ(held.device(), gpu_.device);
  EXPECT_EQ(held.scalar_type(), GetParam());
  EXPECT_TRUE(held.cpu().equal(Weights(0).cpu()));
}

TEST_P(GpuWeightSyncTest, Install_InPlace_ComputesWithThatVersionUntilItIsOverwritten) {
  const auto publisher = MakePublisher();
  const auto installer = MakeInstaller();
  const Digest zero = Publish(*publisher, 0), one = Publish(*publisher, 1);
  const auto installed = installer->Install(Request(0, zero));
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(installed->digest, zero);
  EXPECT_EQ(installed->model->embedding().data_ptr(), publisher->held().front().weights.data_ptr())
      << "a copy";
  EXPECT_TRUE(installer->StillHolds().ok());
  Publish(*publisher, 2);
  EXPECT_TRUE(installer->StillHolds().ok());
  Publish(*publisher, 3);  // The slot of version 0: a reader must not hold up the learner.
  EXPECT_TRUE(absl::IsAborted(installer->StillHolds()));
  EXPECT_FALSE(installer->Install(Request(0, zero)).ok());
  const auto next = installer->Install(Request(1, one));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(installer->StillHolds().ok());
}

TEST_P(GpuWeightSyncTest, Install_AnotherDigestOrDamagedWeights_Refused) {
  const auto publisher = MakePublisher();
  const Digest digest = Publish(*publisher, 0);
  const auto installer = MakeInstaller();
  EXPECT_TRUE(absl::IsDataLoss(installer->Install(Request(0, Digest{1, 2})).status()));
  const at::Tensor weights = publisher->held().front().weights;
  weights.narrow(0, weights.numel() / 2, 1).add_(0.5);  // A stray write.
  const auto installed = installer->Install(Request(0, digest));
  EXPECT_TRUE(absl::IsDataLoss(installed.status())) << installed.status();
  EXPECT_THAT(std::string(installed.status().message()),
              HasSubstr("policy version 0: canary log-prob "));
}

TEST_P(GpuWeightSyncTest, Install_LearnerStartedAgain_ReadsTheNewOnesMemory) {
  const auto old = MakePublisher();
  auto installer = MakeInstaller();
  ASSERT_TRUE(installer->Install(Request(0, Publish(*old, 0))).ok());
  const auto publisher = MakePublisher(/*epoch=*/2);
  EXPECT_TRUE(absl::IsAborted(installer->StillHolds()));
  const auto again = installer->Install(Request(0, Publish(*publisher, 0)));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(installer->StillHolds().ok());
  installer.reset();  // Before its publisher, which would wait for it.
}

TEST_P(GpuWeightSyncTest, ServeGpuWeights_ToOtherHosts_SendsTheWidenedBytes) {
  const auto publisher = MakePublisher();
  const auto lookup = ServeGpuWeights(Map(), shape_, gpu_, absl::Seconds(5));
  ASSERT_TRUE(lookup.ok()) << lookup.status();
  const Digest digest = Publish(*publisher, 0);
  const std::string id = WeightArtifactId(0, 1, digest);
  const auto served = (*lookup)(id);
  ASSERT_TRUE(served.ok()) << served.status();
  const at::Tensor want = OnHost(0);
  ASSERT_GT(served->bytes, static_cast<int64_t>(want.nbytes()));
  std::vector<char> bytes(want.nbytes() - 1);
  ASSERT_TRUE(served->read(1, absl::MakeSpan(bytes)).ok());
  EXPECT_EQ(
      std::memcmp(bytes.data(), static_cast<const char*>(want.const_data_ptr()) + 1, bytes.size()),
      0);
  for (int64_t version = 1; version < 4; ++version) Publish(*publisher, version);
  EXPECT_TRUE(served->read(1, absl::MakeSpan(bytes)).ok()) << "it was copied";
  EXPECT_TRUE((*lookup)(id).ok()) << "and is held";
  ASSERT_TRUE((*lookup)(WeightArtifactId(3, 1, DigestOfWeights(OnHost(3)))).ok());
  EXPECT_TRUE(absl::IsNotFound((*lookup)(id).status()));
  EXPECT_TRUE(absl::IsInvalidArgument((*lookup)("weights-of-mine").status()));
}

// A worker on the GPU whose learner is on the CPU copies what it installs.
class CopiedWeightsTest : public WeightRingFixture {};

TEST_F(CopiedWeightsTest, Install_HostRingForAGpu_CopiesWithinTheTolerance) {
  const auto publisher = MakePublisher();
  const PolicyModel there(config_, {pretend::Device(), at::kFloat});
  auto installer = Installer::Open(Map(ring::Access::kReadOnly), there, kLag, absl::Seconds(5),
                                   CanaryRule::kWithinTolerance);
  ASSERT_TRUE(installer.ok()) << installer.status();
  const Digest digest = Publish(*publisher, 0);
  const auto installed = (*installer)->Install(Request(0, digest));
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(installed->model->device(), pretend::Device());
  EXPECT_EQ((*installer)->Install(Request(0, digest))->install_time, absl::ZeroDuration());
  const auto next = (*installer)->Install(Request(1, Publish(*publisher, 1)));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(next->model->embedding().cpu().equal(model::Model(config_, Weights(1)).embedding()));
}

}  // namespace
}  // namespace retort::worker
