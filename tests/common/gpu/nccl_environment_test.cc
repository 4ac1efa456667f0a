#include "common/gpu/nccl_environment.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace retort::gpu {
namespace {

class NcclEnvironmentTest : public testing::Test {
 protected:
  void SetUp() override { Clear(); }
  void TearDown() override { Clear(); }
  static void Clear() {
    for (const char* name : {"NCCL_ALGO", "NCCL_PROTO", "NCCL_NVLS_ENABLE"}) unsetenv(name);
  }
};

TEST_F(NcclEnvironmentTest, Set_NothingThere_OneAlgorithmAndProtocol) {
  EXPECT_EQ(NcclEnvironmentText(), "NCCL_ALGO= NCCL_PROTO= NCCL_NVLS_ENABLE=");
  SetNcclEnvironment();
  EXPECT_EQ(NcclEnvironmentText(), "NCCL_ALGO=allreduce:ring NCCL_PROTO=Simple NCCL_NVLS_ENABLE=0");
}

TEST_F(NcclEnvironmentTest, Set_UsersOwnValues_Stay) {
  setenv("NCCL_ALGO", "Tree", 1);
  setenv("NCCL_NVLS_ENABLE", "", 1);
  SetNcclEnvironment();
  EXPECT_EQ(NcclEnvironmentText(), "NCCL_ALGO=Tree NCCL_PROTO=Simple NCCL_NVLS_ENABLE=");
}

}  // namespace
}  // namespace retort::gpu
