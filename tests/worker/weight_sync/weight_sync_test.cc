// Publisher and installer over one ring in memory.
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/installer.h"
#include "worker/weight_sync/publisher.h"
#include "worker/weight_sync/weight_ring_fixture.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class WeightSyncTest : public WeightRingFixture {
 protected:
  std::unique_ptr<Installer> MakeInstaller() {
    auto installer = Installer::Open(Map(ring::Access::kReadOnly), policy_, kLag, absl::Seconds(5));
    EXPECT_TRUE(installer.ok()) << installer.status();
    return *std::move(installer);
  }
};

TEST_F(WeightSyncTest, Install_EachPublishedVersion_ComputesWhatTheWeightsCompute) {
  const auto publisher = MakePublisher();
  const auto installer = MakeInstaller();
  for (int64_t version = 0; version < 5; ++version) {  // Twice around the ring of three.
    const Digest digest = Publish(*publisher, version);
    const auto installed = installer->Install(Request(version, digest));
    ASSERT_TRUE(installed.ok()) << installed.status();
    EXPECT_EQ(installed->digest, digest);
    const model::Model own(config_, Weights(version));
    EXPECT_EQ(*model::Canary(*installed->model), *model::Canary(own)) << version;
    EXPECT_TRUE(installer->StillHolds().ok());
  }
}

TEST_F(WeightSyncTest, Install_SameVersionAgain_CostsNothing) {
  const auto publisher = MakePublisher();
  const Digest digest = Publish(*publisher, 0);
  const auto installer = MakeInstaller();
  ASSERT_TRUE(installer->Install(Request(0, digest)).ok());
  const auto again = installer->Install(Request(0, digest));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->install_time, absl::ZeroDuration());
}

TEST_F(WeightSyncTest, StillHolds_SlotOverwritten_Aborted) {
  const auto publisher = MakePublisher();
  const auto installer = MakeInstaller();
  const Digest digest = Publish(*publisher, 0);
  ASSERT_TRUE(installer->Install(Request(0, digest)).ok());
  Publish(*publisher, 1);
  Publish(*publisher, 2);
  EXPECT_TRUE(installer->StillHolds().ok());  // The ring holds lag + 2 versions.
  Publish(*publisher, 3);
  EXPECT_TRUE(absl::IsAborted(installer->StillHolds()));
  EXPECT_FALSE(installer->Install(Request(0, digest)).ok());
}

TEST_F(WeightSyncTest, Install_WeightsDamagedInTheRing_BothValuesNamed) {
  const auto publisher = MakePublisher();
  const Digest digest = Publish(*publisher, 0);
  const at::Tensor weights = publisher->held().front().weights;
  weights[weights.numel() / 2].add_(0.5f);  // A stray write.
  const auto installed = MakeInstaller()->Install(Request(0, digest));
  EXPECT_TRUE(absl::IsDataLoss(installed.status()));
  EXPECT_THAT(installed.status().ToString(), HasSubstr("policy version 0: canary log-prob "));
  EXPECT_THAT(installed.status().ToString(), HasSubstr("computed here"));
}

TEST_F(WeightSyncTest, Install_OtherDigestThanAnnounced_Refused) {
  const auto publisher = MakePublisher();
  Publish(*publisher, 0);
  EXPECT_TRUE(absl::IsDataLoss(MakeInstaller()->Install(Request(0, Digest{1, 2})).status()));
}

TEST_F(WeightSyncTest, Install_VersionOfAnEarlierEpoch_DoesNotCount) {
  const auto publisher = MakePublisher(/*epoch=*/1);
  VersionRequest request = Request(0, Publish(*publisher, 0));
  request.min_epoch = 2;
  const auto installer = MakeInstaller();
  EXPECT_TRUE(absl::IsDeadlineExceeded(installer->Install(request).status()));
  Publish(*MakePublisher(/*epoch=*/2), 0);  // The rewound run publishes it again.
  EXPECT_TRUE(installer->Install(request).ok());
}

TEST_F(WeightSyncTest, Open_OtherModel_Refused) {
  MakePublisher();
  layout::ModelConfig other = config_;
  other.intermediate_size *= 2;
  const auto installer =
      Installer::Open(Map(ring::Access::kReadOnly), PolicyModel(other), kLag, absl::Seconds(5));
  EXPECT_TRUE(absl::IsFailedPrecondition(installer.status())) << installer.status();
}

TEST_F(WeightSyncTest, Publish_NotWhatWasSaved_DataLoss) {
  const auto publisher = MakePublisher();
  const auto digest = publisher->Publish(0, Weights(0).Published(), Digest{1, 2});
  EXPECT_TRUE(absl::IsDataLoss(digest.status()));
  EXPECT_TRUE(publisher->held().empty());
}

TEST_F(WeightSyncTest, Held_AfterManyVersions_TheLastOnesAscending) {
  const auto publisher = MakePublisher();
  for (int64_t version = 0; version < 5; ++version) Publish(*publisher, version);
  std::vector<int64_t> versions;
  for (const Publisher::Held& held : publisher->held()) {
    versions.push_back(held.version);
    EXPECT_EQ(DigestOfWeights(held.weights), held.digest);
  }
  EXPECT_EQ(versions, (std::vector<int64_t>{2, 3, 4}));
}

// The slot's older version is overwritten by then.
TEST_F(WeightSyncTest, Held_PublishingFailed_NotTheOlderVersionOfThatSlot) {
  const auto publisher = MakePublisher();
  for (int64_t version = 0; version < 3; ++version) Publish(*publisher, version);
  EXPECT_FALSE(publisher->Publish(3, Weights(3).Published(), Digest{1, 2}).ok());
  std::vector<int64_t> versions;
  for (const Publisher::Held& held : publisher->held()) versions.push_back(held.version);
  EXPECT_EQ(versions, (std::vector<int64_t>{1, 2}));
}

TEST(CanaryTest, Compare_Rules_BitwiseOrWithinTolerance) {
  const std::vector<float> published = {-1.0f, -2.0f};
  const std::vector<float> near = {-1.0f, std::nextafter(-2.0f, 0.0f)};
  const std::vector<float> far = {-1.0f, -2.001f};
  EXPECT_TRUE(CompareCanaries(published, published, CanaryRule::kBitwise).ok());
  EXPECT_FALSE(CompareCanaries(published, near, CanaryRule::kBitwise).ok());
  EXPECT_TRUE(CompareCanaries(published, near, CanaryRule::kWithinTolerance).ok());
  EXPECT_THAT(CompareCanaries(published, far, CanaryRule::kWithinTolerance).ToString(),
              HasSubstr("canary log-prob 1 differs: published -2, computed here -2.00099"));
  EXPECT_FALSE(CompareCanaries(published, {-1.0f}, CanaryRule::kWithinTolerance).ok());
  EXPECT_FALSE(CompareCanaries({NAN}, {-1.0f}, CanaryRule::kWithinTolerance).ok());
}

}  // namespace
}  // namespace retort::worker
