// Runs before every test of the program what every worker runs first.
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace {

class TorchEnvironment : public testing::Environment {
 public:
  void SetUp() override { retort::tensor::ConfigureTorchProcess(1); }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new TorchEnvironment);
  return RUN_ALL_TESTS();
}
