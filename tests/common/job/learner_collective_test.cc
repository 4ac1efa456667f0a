#include "common/job/learner_collective.h"

#include "common/job/job_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::job {
namespace {

using ::testing::HasSubstr;

struct Case {
  v1::Device device;
  v1::CollectiveKind collective;
  int ranks;
  v1::CollectiveKind want;
  const char* error;  // "": the two go together.
};

const Case kCases[] = {
    {v1::DEVICE_CPU, v1::COLLECTIVE_KIND_AUTO, 2, v1::COLLECTIVE_KIND_AUTO, ""},
    {v1::DEVICE_CPU, v1::COLLECTIVE_KIND_SHM, 2, v1::COLLECTIVE_KIND_SHM, ""},
    {v1::DEVICE_CPU, v1::COLLECTIVE_KIND_MPI, 2, v1::COLLECTIVE_KIND_MPI, ""},
    {v1::DEVICE_CPU, v1::COLLECTIVE_KIND_NCCL, 2, v1::COLLECTIVE_KIND_NCCL, "device is cpu"},
    {v1::DEVICE_CUDA, v1::COLLECTIVE_KIND_AUTO, 2, v1::COLLECTIVE_KIND_NCCL, ""},
    {v1::DEVICE_CUDA, v1::COLLECTIVE_KIND_AUTO, 1, v1::COLLECTIVE_KIND_SHM, ""},
    {v1::DEVICE_CUDA, v1::COLLECTIVE_KIND_NCCL, 1, v1::COLLECTIVE_KIND_NCCL, ""},
    {v1::DEVICE_CUDA, v1::COLLECTIVE_KIND_SHM, 2, v1::COLLECTIVE_KIND_SHM, ""},
    {v1::DEVICE_CUDA, v1::COLLECTIVE_KIND_MPI, 2, v1::COLLECTIVE_KIND_MPI, "device is cuda"},
};

TEST(LearnerCollectiveTest, Resolve_EachDeviceAndKind_AutoFollowsTheDevice) {
  for (const Case& c : kCases) {
    v1::JobSpec spec;
    spec.mutable_cluster()->mutable_learner()->set_device(c.device);
    spec.mutable_cluster()->mutable_learner()->set_collective(c.collective);
    spec.mutable_cluster()->mutable_learner()->set_ranks(c.ranks);
    EXPECT_EQ(LearnerCollective(spec), c.want) << c.device << " " << c.collective;
    const absl::Status status = CheckLearnerCollective(spec, FieldPositions());
    if (*c.error == '\0') {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr("cluster.learner.collective"));
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.error));
    }
  }
}

TEST(LearnerCollectiveTest, ParseJob_NcclOnTheCpu_Refused) {
  const auto job = ParseJob(kPpoJob, "job.yaml", "/", {"cluster.learner.collective=nccl"});
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("cluster.learner.collective is nccl"));
}

}  // namespace
}  // namespace retort::job
