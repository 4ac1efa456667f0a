// A weight ring in memory and what publishes into it, for tests of its readers.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "gtest/gtest.h"
#include "testing/tiny_model.h"
#include "worker/weight_sync/installer.h"
#include "worker/weight_sync/publisher.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

class WeightRingFixture : public testing::Test {
 protected:
  static constexpr int kLag = 1;

  explicit WeightRingFixture(PolicyModel policy = PolicyModel(tiny::TinyConfig()))
      : policy_(std::move(policy)) {
    fd_ = UniqueFd(memfd_create("weight_ring_fixture", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(ftruncate(fd_.get(), bytes_), 0);
    EXPECT_EQ(fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
  }
  ring::Segment Map(ring::Access access) const {
    return *ring::Segment::Map(UniqueFd(dup(fd_.get())), bytes_, access, "weight_ring_fixture");
  }
  std::unique_ptr<Publisher> MakePublisher(uint64_t epoch = 1) {
    auto publisher = Publisher::Open(Map(ring::Access::kReadWrite), policy_,
                                     WeightRingShapeOf(policy_, kLag), epoch);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    return *std::move(publisher);
  }
  // Weights of a version, value head included: only the prefix may be published.
  tensor::ParameterArena Weights(int64_t version) const {
    return tiny::RandomArena(config_, /*value_head=*/true, static_cast<uint64_t>(100 + version));
  }
  Digest Publish(Publisher& publisher, int64_t version) {
    const auto digest = publisher.Publish(version, Weights(version).Published());
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
  const PolicyModel policy_;
  const int64_t bytes_ = ring::WeightRingBytes(WeightRingShapeOf(policy_, kLag));
  UniqueFd fd_;
};

}  // namespace retort::worker
