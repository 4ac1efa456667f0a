// Runs before every test of the program what every worker runs first, and draws the same numbers in
// every test, alone or not. Other draws: --gtest_shuffle --gtest_repeat=100, whose seeds GoogleTest
// prints.
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace {

class TorchEnvironment : public testing::Environment {
 public:
  void SetUp() override { retort::tensor::ConfigureTorchProcess(1); }
};

// ATen's own generator starts with a seed of the machine's entropy.
class SeedEveryTest : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo&) override {
    at::manual_seed(testing::UnitTest::GetInstance()->random_seed());
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new TorchEnvironment);
  testing::UnitTest::GetInstance()->listeners().Append(new SeedEveryTest);
  return RUN_ALL_TESTS();
}
