#include "worker/learner/fetch_bundles.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/tiny_job.h"

namespace retort::worker {
namespace {

class FetchBundlesTest : public testing::Test {
 protected:
  FetchBundlesTest() {
    const tiny::TinyBundles made = tiny::RandomBundles(tiny::TinyPpoSpec(6, 1), 2, 1, 35);
    for (size_t i = 0; i < made.rollouts.size(); ++i) {
      v1::TrainBundle& bundle = bundles_.emplace_back();
      *bundle.mutable_bundle() = made.rollouts[i].bundle;
      bundle.mutable_rollout()->set_artifact_id("r" + std::to_string(i));
      bundle.mutable_scores()->set_artifact_id("s" + std::to_string(i));
      held_["r" + std::to_string(i)] = *artifact::Encode(made.rollouts[i]);
      held_["s" + std::to_string(i)] = *artifact::Encode(made.scores[i]);
    }
  }
  absl::StatusOr<FetchedBundles> Fetch() {
    return FetchBundles(bundles_,
                        [this](const v1::ArtifactRef& ref) -> absl::StatusOr<std::string> {
                          const auto found = held_.find(ref.artifact_id());
                          if (found == held_.end()) return absl::NotFoundError(ref.artifact_id());
                          if (found->second.empty())
                            return absl::InvalidArgumentError("malformed reference");
                          return found->second;
                        });
  }

  std::vector<v1::TrainBundle> bundles_;
  std::map<std::string, std::string> held_;
};

TEST_F(FetchBundlesTest, Fetch_AllHeld_InBundleOrder) {
  const auto fetched = Fetch();
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_TRUE(fetched->failures.empty());
  ASSERT_EQ(fetched->rollouts.size(), 6);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(fetched->rollouts[i].bundle.index(), i);
    EXPECT_EQ(fetched->scores[i].bundle.index(), i);
  }
}

TEST_F(FetchBundlesTest, Fetch_HoldersLost_EachNamed) {
  held_.erase("s1");
  held_.erase("r4");
  const auto fetched = Fetch();
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  ASSERT_EQ(fetched->failures.size(), 2);
  EXPECT_EQ(fetched->failures[0].bundle.index(), 1);
  EXPECT_EQ(fetched->failures[0].ref.artifact_id(), "s1");
  EXPECT_EQ(fetched->failures[1].ref.artifact_id(), "r4");
}

TEST_F(FetchBundlesTest, Fetch_HolderDoesNotAnswer_NoSecondWait) {
  int waits = 0;
  const auto fetched = FetchBundles(
      bundles_,
      [&](const v1::ArtifactRef& ref) -> absl::StatusOr<std::string> {
        if (ref.artifact_id() < "s") return held_[ref.artifact_id()];
        ++waits;
        return absl::DeadlineExceededError("no answer");
      },
      /*max_streams=*/1);
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_EQ(waits, 1);
  ASSERT_EQ(fetched->failures.size(), 1);
  EXPECT_EQ(fetched->failures[0].ref.artifact_id(), "s0");
}

TEST_F(FetchBundlesTest, Fetch_GarbageOrMalformed_NoHoldersFault) {
  held_["r2"] = "garbage";
  EXPECT_TRUE(absl::IsDataLoss(Fetch().status()));
  held_["r2"] = "";
  EXPECT_TRUE(absl::IsInvalidArgument(Fetch().status()));
}

}  // namespace
}  // namespace retort::worker
