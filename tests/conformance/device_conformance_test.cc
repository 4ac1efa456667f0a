// The golden cases of models on another device than the CPU, within the cases' own tolerances.
#include <cstdlib>
#include <sstream>
#include <string>

#include "common/gpu/plugin.h"
#include "conformance/case_device.h"
#include "conformance/runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/pretend_device.h"

namespace retort::conformance {
namespace {

using ::testing::HasSubstr;

TEST(DeviceConformanceTest, ModelCases_OnTheDevice_Pass) {
  const char* const cases = std::getenv("RETORT_MODEL_CASES");
  if (cases == nullptr) GTEST_SKIP() << "there are no golden cases here";
  RunOptions options{.roots = {cases}, .data = {}, .required = {}, .device = pretend::Device()};
  options.required = *ParseRequirements(
      "model.logits,model.score,model.values,model.lora,model.reward_score,model.train_step,"
      "model.generate_greedy:llama");
  std::ostringstream out;
  EXPECT_EQ(RunAll(AllOps(), options, out), 0) << out.str();
}

TEST(DeviceConformanceTest, LoadDevice_OtherThanThePlugins_Refused) {
  const auto load = [](const std::string& name) { return LoadDevice(name, "/nowhere", "a build"); };
  EXPECT_EQ(*load("cpu"), at::Device(at::kCPU));
  EXPECT_THAT(std::string(load("graphics").status().message()), HasSubstr("knows no device"));
  const absl::Status status = load("cuda").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no GPU plug-in"));
}

}  // namespace
}  // namespace retort::conformance
