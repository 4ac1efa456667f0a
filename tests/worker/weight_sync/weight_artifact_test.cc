#include "worker/weight_sync/weight_artifact.h"

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "worker/weight_sync/weight_ring_fixture.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class WeightArtifactTest : public WeightRingFixture {
 protected:
  rpc::ArtifactLookup MakeLookup() {
    auto lookup = ServeWeights(Map(ring::Access::kReadOnly), absl::Seconds(5));
    EXPECT_TRUE(lookup.ok()) << lookup.status();
    return *std::move(lookup);
  }
  // All bytes, read `chunk` at a time.
  static std::string ReadAll(const rpc::ServedArtifact& artifact, int64_t chunk) {
    std::string bytes(static_cast<size_t>(artifact.bytes), '?');
    for (int64_t at = 0; at < artifact.bytes; at += chunk) {
      const int64_t count = std::min(chunk, artifact.bytes - at);
      EXPECT_TRUE(artifact.read(at, absl::MakeSpan(bytes).subspan(at, count)).ok());
    }
    return bytes;
  }

  const std::unique_ptr<Publisher> publisher_ = MakePublisher();
};

TEST_F(WeightArtifactTest, Read_AnyChunkSize_WeightsThenCanary) {
  const Digest digest = Publish(*publisher_, 3);
  const auto artifact = MakeLookup()(WeightArtifactId(3, 1, digest));
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  const tensor::ParameterArena arena = Weights(3);
  const absl::Span<const float> weights = arena.PublishedSpan();
  const std::vector<float> canary = *model::Canary(model::Model(config_, arena));
  std::string want(reinterpret_cast<const char*>(weights.data()), weights.size() * sizeof(float));
  want.append(reinterpret_cast<const char*>(canary.data()), canary.size() * sizeof(float));
  for (const int64_t chunk : {int64_t{1} << 20, int64_t{1000}, int64_t{7}}) {
    EXPECT_TRUE(ReadAll(*artifact, chunk) == want) << chunk;
  }
}

TEST_F(WeightArtifactTest, Lookup_NotInTheRing_NotFoundWithWhatItHolds) {
  const Digest digest = Publish(*publisher_, 0);
  const rpc::ArtifactLookup lookup = MakeLookup();
  for (const std::string& id : {WeightArtifactId(3, 1, digest), WeightArtifactId(0, 2, digest)}) {
    const auto found = lookup(id);
    EXPECT_TRUE(absl::IsNotFound(found.status())) << id << ": " << found.status();
    EXPECT_THAT(found.status().ToString(), HasSubstr("holds version 0 of epoch 1"));
  }
}

TEST_F(WeightArtifactTest, Lookup_OtherDigest_DataLossWithBoth) {
  const Digest digest = Publish(*publisher_, 0);
  const auto found = MakeLookup()(WeightArtifactId(0, 1, Digest{1, 2}));
  EXPECT_TRUE(absl::IsDataLoss(found.status()));
  EXPECT_THAT(found.status().ToString(), HasSubstr(digest.ToHex()));
  EXPECT_THAT(found.status().ToString(), HasSubstr(Digest({1, 2}).ToHex()));
}

TEST_F(WeightArtifactTest, Lookup_NoSuchId_InvalidArgument) {
  const rpc::ArtifactLookup lookup = MakeLookup();
  const std::string hex = Digest{1, 2}.ToHex();
  for (const std::string& id :
       {std::string("weights-"), "weights-v1-e1-" + hex + "-", "weights-v-e1-" + hex,
        "weights-e1-v1-" + hex, std::string("weights-v1-e1-12"), "weights-v-1-e1-" + hex,
        "rollout-v1-e1-" + hex}) {
    EXPECT_TRUE(absl::IsInvalidArgument(lookup(id).status())) << id;
  }
}

TEST_F(WeightArtifactTest, Read_SlotOverwrittenMeanwhile_Aborted) {
  const Digest digest = Publish(*publisher_, 0);
  const auto artifact = MakeLookup()(WeightArtifactId(0, 1, digest));
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  std::string chunk(1000, '\0');
  EXPECT_TRUE(artifact->read(0, absl::MakeSpan(chunk)).ok());
  Publish(*publisher_, 1);
  Publish(*publisher_, 2);
  EXPECT_TRUE(artifact->read(1000, absl::MakeSpan(chunk)).ok());  // It has slots of its own.
  Publish(*publisher_, 3);
  const absl::Status overwritten = artifact->read(2000, absl::MakeSpan(chunk));
  EXPECT_TRUE(absl::IsAborted(overwritten)) << overwritten;
  EXPECT_THAT(overwritten.ToString(), HasSubstr("policy version 0 was overwritten"));
}

}  // namespace
}  // namespace retort::worker
