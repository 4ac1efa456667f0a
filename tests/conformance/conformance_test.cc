// The runner's own rules, on cases written here.
#include <limits>
#include <sstream>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "conformance/runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::conformance {
namespace {

using tensor::TensorMap;
using ::testing::HasSubstr;

// y = factor * x, and its gradient.
absl::StatusOr<TensorMap> Scale(TensorCall& call) {
  const double factor = call.Number("factor", 2);
  const std::optional<int64_t> family = call.OptionalInteger("family");
  const at::Tensor x = call.Leaf("x");
  if (family.has_value()) call.SetFamily(std::to_string(*family));
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (family == 7) return absl::UnimplementedError("family 7");
  if (factor < 0) return absl::InvalidArgumentError("factor is negative");
  TensorMap outputs{{"y", factor * x}};
  call.AddGradients(outputs["y"], &outputs);
  return outputs;
}

absl::StatusOr<Json> Length(LineCall& call) {
  const std::string text = call.LineText("text");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (text == "bad") return absl::InvalidArgumentError("text is bad");
  return Json{{"length", text.size()}, {"half", static_cast<double>(text.size()) / 2}};
}

OpRegistry Registry() {
  return {{"test.scale", {Scale, {}, {}}}, {"test.length", {{}, Length, {"text"}}}};
}

class ConformanceTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "/conformance_test_" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_TRUE(RemoveRecursively(root_).ok());
  }

  // A case of test.scale with x = [1, 2].
  void Write(const std::string& name, const std::string& case_json, const TensorMap& expected,
             TensorMap inputs = {{"x", at::tensor({1.f, 2.f})}}) {
    const std::string folder = root_ + "/" + name;
    ASSERT_TRUE(MakeDirectories(folder).ok());
    ASSERT_TRUE(WriteFileDurably(folder + "/case.json", case_json).ok());
    ASSERT_TRUE(tensor::WriteTensorFile(folder + "/inputs.safetensors", inputs).ok());
    ASSERT_TRUE(tensor::WriteTensorFile(folder + "/expected.safetensors", expected).ok());
  }

  void WriteLines(const std::string& name, const std::string& lines) {
    const std::string folder = root_ + "/" + name;
    ASSERT_TRUE(MakeDirectories(folder).ok());
    ASSERT_TRUE(WriteFileDurably(folder + "/case.json",
                                 R"({"op":"test.length","params":{},"rtol":0,"atol":0.01})")
                    .ok());
    ASSERT_TRUE(WriteFileDurably(folder + "/cases.jsonl", lines).ok());
  }

  CaseResult Run(const std::string& name) { return RunCase(Registry(), root_ + "/" + name, ""); }

  std::string root_;
};

constexpr char kScale[] = R"({"op":"test.scale","params":{},"rtol":1e-5,"atol":1e-6,"source":"x"})";

TensorMap Doubled() { return {{"y", at::tensor({2.f, 4.f})}, {"grad.x", at::tensor({2.f, 2.f})}}; }

TEST_F(ConformanceTest, Case_Right_Passes) {
  Write("ok", kScale, Doubled());
  EXPECT_EQ(Run("ok").outcome, Outcome::kPass) << Run("ok").detail;
}

TEST_F(ConformanceTest, Case_WhateverDiffers_FailsAndSaysWhere) {
  const struct {
    const char* name;
    TensorMap expected;
    const char* message;
  } cases[] = {
      {"value", {{"y", at::tensor({2.f, 4.1f})}}, "y: max_err=1.0e-01 at [1]"},
      {"nan", {{"y", at::tensor({2.f, std::numeric_limits<float>::quiet_NaN()})}}, "at [1]"},
      {"shape", {{"y", at::tensor({2.f, 4.f}).unsqueeze(0)}}, "shape [2], expected [1,2]"},
      {"dtype", {{"y", at::tensor({2.0, 4.0})}}, "dtype Float, expected Double"},
      {"missing", {{"y", at::tensor({2.f, 4.f})}, {"z", at::zeros({})}}, "z: the op has no such"},
      {"extra", {{"grad.x", at::tensor({2.f, 2.f})}}, "y: output that the case does not expect"},
      {"gradient", {{"y", at::tensor({2.f, 4.f})}, {"grad.x", at::zeros({2})}}, "grad.x: max_err"},
  };
  for (const auto& c : cases) {
    Write(c.name, kScale, c.expected);
    EXPECT_EQ(Run(c.name).outcome, Outcome::kFail) << c.name;
    EXPECT_THAT(Run(c.name).detail, HasSubstr(c.message));
  }
}

TEST_F(ConformanceTest, Case_ExtraGradientOfTheOp_Passes) {
  Write("no_gradient", kScale, {{"y", at::tensor({2.f, 4.f})}});
  EXPECT_EQ(Run("no_gradient").outcome, Outcome::kPass);
}

TEST_F(ConformanceTest, Arguments_UnknownMissingOrWrong_Refused) {
  const auto json = [](const std::string& params) {
    return R"({"op":"test.scale","rtol":0,"atol":0,"params":)" + params + "}";
  };
  const struct {
    const char* name;
    std::string case_json;
    TensorMap inputs;
    const char* message;
  } cases[] = {
      {"param", json(R"({"speed":1})"), {{"x", at::ones({2})}}, "unknown param speed"},
      {"input", json("{}"), {{"x", at::ones({2})}, {"w", at::ones({2})}}, "unknown input w"},
      {"no_input", json("{}"), {}, "input x is missing"},
      {"type", json(R"({"factor":"2"})"), {{"x", at::ones({2})}}, "param factor is no number"},
      {"dtype", json("{}"), {{"x", at::arange(2)}}, "expected a float type"},
  };
  for (const auto& c : cases) {
    Write(c.name, c.case_json, Doubled(), c.inputs);
    EXPECT_EQ(Run(c.name).outcome, Outcome::kFail) << c.name;
    EXPECT_THAT(Run(c.name).detail, HasSubstr(c.message));
  }
}

TEST_F(ConformanceTest, NullParam_IsAbsent) {
  Write("null", R"({"op":"test.scale","rtol":0,"atol":0,"params":{"factor":null}})", Doubled());
  EXPECT_EQ(Run("null").outcome, Outcome::kPass) << Run("null").detail;
}

TEST_F(ConformanceTest, ErrorCase_RightTextOnly) {
  const auto json = [](const std::string& factor, const std::string& error) {
    return R"({"op":"test.scale","rtol":0,"atol":0,"params":{"factor":)" + factor +
           R"(},"error":")" + error + R"("})";
  };
  Write("right", json("-1", "factor"), {});
  Write("other", json("-1", "speed"), {});
  Write("accepted", json("1", "factor"), {});
  EXPECT_EQ(Run("right").outcome, Outcome::kPass);
  EXPECT_EQ(Run("other").outcome, Outcome::kFail);
  EXPECT_THAT(Run("accepted").detail, HasSubstr("accepted, expected a refusal"));
}

TEST_F(ConformanceTest, CaseFile_UnknownKeyOrNoTolerance_Fails) {
  Write("key", R"({"op":"test.scale","params":{},"rtol":0,"atol":0,"tolerance":1})", Doubled());
  Write("rtol", R"({"op":"test.scale","params":{},"atol":0})", Doubled());
  EXPECT_THAT(Run("key").detail, HasSubstr("unknown key tolerance"));
  EXPECT_THAT(Run("rtol").detail, HasSubstr("rtol is no number"));
}

TEST_F(ConformanceTest, Lines_NestedFlatAndErrors) {
  WriteLines("ok", R"({"inputs":{"text":"abcd"},"expected":{"length":4,"half":2.001}})"
                   "\n"
                   R"({"text":"","length":0,"half":0})"
                   "\n"
                   R"({"text":"bad","error":"is bad"})"
                   "\n");
  EXPECT_EQ(Run("ok").outcome, Outcome::kPass) << Run("ok").detail;
  const struct {
    const char* name;
    const char* line;
    const char* message;
  } cases[] = {
      {"integer", R"({"text":"a","length":2,"half":0.5})", "line 1: line.length: differs"},
      {"float", R"({"text":"a","length":1,"half":0.6})", "line 1: line.half: max_err=1.0e-01"},
      {"extra", R"({"text":"a","length":1})", "key half is not expected"},
      {"missing", R"({"text":"a","length":1,"half":0.5,"third":1})", "key third is missing"},
      {"accepted", R"({"text":"a","error":"is bad"})", "accepted, expected a refusal"},
      {"nested", R"({"inputs":{"text":"a","w":1},"expected":{}})", "unknown input w"},
  };
  for (const auto& c : cases) {
    WriteLines(c.name, c.line);
    EXPECT_EQ(Run(c.name).outcome, Outcome::kFail) << c.name;
    EXPECT_THAT(Run(c.name).detail, HasSubstr(c.message));
  }
}

TEST_F(ConformanceTest, RunAll_PrintsLinesSummaryAndStatus) {
  Write("a/one", kScale, Doubled());
  Write("b/two", R"({"op":"test.other","params":{},"rtol":0,"atol":0})", {});
  Write("b/three", R"({"op":"test.scale","params":{"family":7},"rtol":0,"atol":0})", {});
  const auto run = [&](const std::string& require, std::string* text) {
    std::ostringstream out;
    const int status = RunAll(Registry(), {{root_}, "", *ParseRequirements(require)}, out);
    *text = out.str();
    return status;
  };
  std::string text;
  EXPECT_EQ(run("", &text), 0);
  EXPECT_THAT(text, HasSubstr("PASS a/one "));
  EXPECT_THAT(text, HasSubstr("UNSUPPORTED b/two"));
  EXPECT_THAT(text, HasSubstr("op \"test.other\"\n"));
  EXPECT_THAT(text, HasSubstr("\n1 passed, 0 failed\n"));
  EXPECT_EQ(run("test.length", &text), 0);
  EXPECT_EQ(run("test.scale:8", &text), 0);
  EXPECT_EQ(run("test.scale:7", &text), 1);
  EXPECT_EQ(run("test.scale", &text), 1);
  EXPECT_EQ(run("test.other", &text), 1);
  EXPECT_EQ(run("test.unheard_of", &text), 1);
  Write("c", kScale, {});
  EXPECT_EQ(run("", &text), 1);
  EXPECT_THAT(text, HasSubstr("\n1 passed, 1 failed\n"));
}

TEST_F(ConformanceTest, RunAll_NoCase_StatusTwo) {
  ASSERT_TRUE(MakeDirectories(root_).ok());
  std::ostringstream out;
  EXPECT_EQ(RunAll(Registry(), {{root_}, "", {}}, out), 2);
  EXPECT_THAT(out.str(), HasSubstr("no case.json under it"));
}

TEST(RequirementsTest, EmptyPart_Refused) {
  EXPECT_FALSE(ParseRequirements("a,,b").ok());
  EXPECT_EQ(ParseRequirements("a:b")->at(0).family, "b");
}

TEST(DataFolderTest, BesideGoldens) {
  EXPECT_EQ(DefaultDataFolder("/x/goldens/model/case"), "/x/data");
  EXPECT_EQ(DefaultDataFolder("/x/other/case"), "");
}

}  // namespace
}  // namespace retort::conformance
