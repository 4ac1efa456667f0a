// The installer of other hosts: over gRPC as in a run, and over a way that a test can damage.
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/rpc/artifact_fetch.h"
#include "common/rpc/artifact_service.h"
#include "gmock/gmock.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/weight_artifact.h"
#include "worker/weight_sync/weight_ring_fixture.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class FetchingInstallerTest : public WeightRingFixture {
 protected:
  static constexpr int64_t kChunk = 1000;

  FetchingInstallerTest() {
    auto installer =
        Installer::Fetching(policy_, [this](const std::string& address, const std::string& id,
                                            absl::Duration, const rpc::ArtifactSink& sink) {
          ++fetches_;
          EXPECT_EQ(address, "learner:1");
          return fetch_ != nullptr ? fetch_(id, sink) : Carry(id, sink);
        });
    EXPECT_TRUE(installer.ok()) << installer.status();
    installer_ = *std::move(installer);
  }
  static VersionRequest Ask(int64_t version, const Digest& digest, absl::Duration timeout = {}) {
    VersionRequest request = Request(version, digest);
    request.holder = "learner:1";
    request.timeout = timeout;
    return request;
  }
  // What rpc::StreamArtifact does, without a network; `spoil` sees the bytes on their way.
  absl::Status Carry(const std::string& id, const rpc::ArtifactSink& sink,
                     const std::function<void(std::string&)>& spoil = nullptr) {
    const auto artifact = lookup_(id);
    if (!artifact.ok()) return artifact.status();
    std::string bytes(static_cast<size_t>(artifact->bytes), '\0');
    const absl::Status read = artifact->read(0, absl::MakeSpan(bytes));
    if (!read.ok()) return read;
    if (spoil != nullptr) spoil(bytes);
    return Deliver(bytes, static_cast<int64_t>(bytes.size()), sink);
  }
  static absl::Status Deliver(const std::string& bytes, int64_t announced,
                              const rpc::ArtifactSink& sink) {
    absl::Status status = sink.begin(announced);
    for (size_t at = 0; status.ok() && at < bytes.size(); at += kChunk) {
      status = sink.data(absl::string_view(bytes).substr(at, kChunk));
    }
    return status;
  }
  absl::Status InstallSpoiled(const Digest& digest, std::function<void(std::string&)> spoil) {
    fetch_ = [this, spoil](const std::string& id, const rpc::ArtifactSink& sink) {
      return Carry(id, sink, spoil);
    };
    return installer_->Install(Ask(0, digest)).status();
  }
  int64_t weight_bytes() const {
    return WeightRingShapeOf(policy_, kLag).slot_elements * static_cast<int64_t>(sizeof(float));
  }

  const std::unique_ptr<Publisher> publisher_ = MakePublisher();
  const rpc::ArtifactLookup lookup_ = *ServeWeights(Map(ring::Access::kReadOnly), absl::Seconds(5));
  std::function<absl::Status(const std::string& id, const rpc::ArtifactSink&)> fetch_;
  int fetches_ = 0;
  std::unique_ptr<Installer> installer_;
};

TEST_F(FetchingInstallerTest, Install_OverGrpc_TheSameBits) {
  const rpc::AccessToken token = rpc::AccessToken::Generate();
  const auto service = rpc::MakeArtifactService(token, lookup_);
  const auto server = *rpc::Server::Start({.services = {service.get()}});
  rpc::ChannelCache channels(token, {});
  const auto installer =
      *Installer::Fetching(policy_, [&](const std::string& address, const std::string& id,
                                        absl::Duration deadline, const rpc::ArtifactSink& sink) {
        return rpc::StreamArtifact(address, id, channels, deadline, sink);
      });
  for (int64_t version = 0; version < 4; ++version) {  // Once around the ring of three.
    VersionRequest request = Request(version, Publish(*publisher_, version));
    request.holder = server->address();
    const auto installed = installer->Install(request);
    ASSERT_TRUE(installed.ok()) << installed.status();
    EXPECT_EQ(installed->digest, request.digest);
    const model::Model own(config_, Weights(version));
    EXPECT_EQ(*model::Canary(*installed->model), *model::Canary(own)) << version;
    EXPECT_TRUE(installer->StillHolds().ok());
  }
}

TEST_F(FetchingInstallerTest, Install_SameVersionAgain_IsNotFetched) {
  const Digest digest = Publish(*publisher_, 0);
  ASSERT_TRUE(installer_->Install(Ask(0, digest)).ok());
  VersionRequest later = Ask(0, digest);
  later.min_epoch = 2;  // The digest says that the bytes are the same.
  const auto again = installer_->Install(later);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->install_time, absl::ZeroDuration());
  EXPECT_EQ(fetches_, 1);
}

TEST_F(FetchingInstallerTest, Install_OlderVersionThatIsStillHeld_IsFetchedAgain) {
  const Digest zero = Publish(*publisher_, 0);
  const Digest one = Publish(*publisher_, 1);
  ASSERT_TRUE(installer_->Install(Ask(0, zero)).ok());
  ASSERT_TRUE(installer_->Install(Ask(1, one)).ok());
  const auto back = installer_->Install(Ask(0, zero));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*model::Canary(*back->model), *model::Canary(model::Model(config_, Weights(0))));
  EXPECT_EQ(fetches_, 3);
}

TEST_F(FetchingInstallerTest, Install_RingOverwritten_TheWorkersOwnWeightsHold) {
  ASSERT_TRUE(installer_->Install(Ask(0, Publish(*publisher_, 0))).ok());
  for (int64_t version = 1; version < 5; ++version) Publish(*publisher_, version);
  EXPECT_TRUE(installer_->StillHolds().ok());
}

TEST_F(FetchingInstallerTest, Install_OneBitWrong_DataLossWithBothDigests) {
  const Digest digest = Publish(*publisher_, 0);
  const absl::Status status =
      InstallSpoiled(digest, [](std::string& bytes) { bytes[bytes.size() / 2] ^= 1; });
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(status.ToString(), HasSubstr("policy version 0: the weights from learner:1 hash to"));
  EXPECT_THAT(status.ToString(), HasSubstr("expected " + digest.ToHex()));
  EXPECT_TRUE(absl::IsAborted(installer_->StillHolds()));
}

TEST_F(FetchingInstallerTest, Install_OtherDigestThanPublished_DataLoss) {
  Publish(*publisher_, 0);
  EXPECT_TRUE(absl::IsDataLoss(installer_->Install(Ask(0, Digest{1, 2})).status()));
}

TEST_F(FetchingInstallerTest, Install_Truncated_DataLoss) {
  const Digest digest = Publish(*publisher_, 0);
  const absl::Status shorter = InstallSpoiled(digest, [this](std::string& bytes) {
    bytes.resize(static_cast<size_t>(weight_bytes()) / 2);
  });
  EXPECT_TRUE(absl::IsDataLoss(shorter)) << shorter;
  EXPECT_THAT(shorter.ToString(), HasSubstr("the holder announces"));
  // Announced in full, but half of it is missing: the digest tells.
  fetch_ = [this](const std::string&, const rpc::ArtifactSink& sink) {
    return Deliver(std::string(static_cast<size_t>(weight_bytes()) / 2, 'x'), weight_bytes() + 4,
                   sink);
  };
  EXPECT_TRUE(absl::IsDataLoss(installer_->Install(Ask(0, digest)).status()));
}

TEST_F(FetchingInstallerTest, Install_Canary_ToleratesOtherKernelsButNoOtherModel) {
  const Digest digest = Publish(*publisher_, 0);
  const auto move_canary = [this](float by) {
    return [this, by](std::string& bytes) {
      float first;
      std::memcpy(&first, bytes.data() + weight_bytes(), sizeof(first));
      first += by;
      std::memcpy(bytes.data() + weight_bytes(), &first, sizeof(first));
    };
  };
  const absl::Status far = InstallSpoiled(digest, move_canary(10 * kCanaryTolerance));
  EXPECT_TRUE(absl::IsDataLoss(far)) << far;
  EXPECT_THAT(far.ToString(), HasSubstr("policy version 0: canary log-prob 0 differs: published"));
  EXPECT_TRUE(InstallSpoiled(digest, move_canary(0.1f * kCanaryTolerance)).ok());
}

TEST_F(FetchingInstallerTest, Install_VersionThatNeverComes_DeadlineWithWhatIsThere) {
  const Digest digest = Publish(*publisher_, 0);
  const absl::Status status = installer_->Install(Ask(3, digest, absl::Milliseconds(120))).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("policy version 3 could not be fetched from learner:1 "
                                           "within 120ms"));
  EXPECT_THAT(status.ToString(), HasSubstr("holds version 0 of epoch 1"));
  EXPECT_GT(fetches_, 1);
}

TEST_F(FetchingInstallerTest, Install_HolderOrVersionComesLate_Waits) {
  Digest digest = DigestOfWeights(Weights(3).PublishedSpan());
  fetch_ = [this](const std::string& id, const rpc::ArtifactSink& sink) -> absl::Status {
    if (fetches_ == 1) return absl::UnavailableError("connection refused");
    if (fetches_ == 3) Publish(*publisher_, 3);
    return Carry(id, sink);
  };
  const auto installed = installer_->Install(Ask(3, digest, absl::Minutes(1)));
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(fetches_, 3);
}

TEST_F(FetchingInstallerTest, Install_HolderDiesHalfway_TheNextTryIsWhole) {
  const Digest digest = Publish(*publisher_, 0);
  fetch_ = [this](const std::string& id, const rpc::ArtifactSink& sink) -> absl::Status {
    if (fetches_ > 1) return Carry(id, sink);
    EXPECT_TRUE(sink.begin(weight_bytes() + 4).ok());
    EXPECT_TRUE(sink.data(std::string(kChunk, 'x')).ok());
    return absl::UnavailableError("connection reset");
  };
  const auto installed = installer_->Install(Ask(0, digest, absl::Minutes(1)));
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(*model::Canary(*installed->model), *model::Canary(model::Model(config_, Weights(0))));
}

TEST_F(FetchingInstallerTest, Install_OverwrittenWhileItIsSent_Refused) {
  const Digest digest = Publish(*publisher_, 0);
  fetch_ = [this](const std::string& id, const rpc::ArtifactSink& sink) -> absl::Status {
    const auto artifact = lookup_(id);
    if (!artifact.ok()) return artifact.status();
    absl::Status status = sink.begin(artifact->bytes);
    for (int64_t at = 0; status.ok() && at < artifact->bytes; at += kChunk) {
      if (at == kChunk) Publish(*publisher_, 3);  // The slot of version 0.
      std::string chunk(static_cast<size_t>(std::min(kChunk, artifact->bytes - at)), '\0');
      status = artifact->read(at, absl::MakeSpan(chunk));
      if (status.ok()) status = sink.data(chunk);
    }
    return status;
  };
  const absl::Status status = installer_->Install(Ask(0, digest)).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("was overwritten in the ring while it was sent"));
  EXPECT_TRUE(absl::IsAborted(installer_->StillHolds()));
}

TEST_F(FetchingInstallerTest, Install_TheSessionEnds_IsNotTriedAgain) {
  fetch_ = [](const std::string&, const rpc::ArtifactSink&) {
    return absl::CancelledError("the session ends");
  };
  const absl::Status status = installer_->Install(Ask(0, {}, absl::Minutes(1))).status();
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_EQ(fetches_, 1);
}

}  // namespace
}  // namespace retort::worker
