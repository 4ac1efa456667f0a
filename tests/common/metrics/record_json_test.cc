#include "common/metrics/record_json.h"

#include <cmath>
#include <limits>
#include <string>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace retort::metrics {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

v1::StepRecord Step() {
  v1::StepRecord record;
  record.set_step(3);
  (*record.mutable_scalars())["objective/kl"] = 0.1;
  (*record.mutable_scalars())["env/reward_mean"] = 1;
  (*record.mutable_phase_seconds())["train"] = 1.0 / 3;
  record.set_weight_digest("00ff");
  v1::Histogram& histogram = (*record.mutable_histograms())["tokens/responses_dist"];
  histogram.set_low(1);
  histogram.set_high(2);
  histogram.add_counts(5);
  v1::SampleText& sample = *record.add_samples();
  sample.set_slot(7);
  sample.set_prompt("1\"\n\xe2\x80\xa8");
  sample.set_completion("<b>");
  sample.set_score(-0.5);
  return record;
}

v1::EvalRecord Eval() {
  v1::EvalRecord record;
  record.set_version(4);
  record.set_rows(1000);
  record.set_exact_match(0.962);
  return record;
}

TEST(RecordJsonTest, StepRecord_IsOneLineWithSortedKeys) {
  const std::string line = RecordToJson(Step());
  EXPECT_EQ(line.find('\n'), line.npos);
  EXPECT_EQ(
      line,
      R"({"kind":"step","step":3,"scalars":{"env/reward_mean":1.0,"objective/kl":0.1},)"
      R"("phase_seconds":{"train":0.3333333333333333},"weight_digest":"00ff",)"
      R"("histograms":{"tokens/responses_dist":{"low":1.0,"high":2.0,"counts":[5],"not_finite":0}},)"
      R"("samples":[{"slot":7,"sample":0,"prompt":"1\"\n)"
      "\xe2\x80\xa8"
      R"(","completion":"<b>","score":-0.5}]})");
}

TEST(RecordJsonTest, Records_ReadBackEqual) {
  const auto step = RecordFromJson(RecordToJson(Step()), "x");
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_TRUE(MessageDifferencer::Equals(std::get<v1::StepRecord>(*step), Step()));
  const auto eval = RecordFromJson(RecordToJson(Eval()), "x");
  ASSERT_TRUE(eval.ok()) << eval.status();
  EXPECT_TRUE(MessageDifferencer::Equals(std::get<v1::EvalRecord>(*eval), Eval()));
}

TEST(RecordJsonTest, Doubles_ReadBackToTheSameBits) {
  for (const double value : {0.1, 1e300, -2.2250738585072014e-308, 4.9e-324, 123456789.123456789}) {
    v1::StepRecord record;
    (*record.mutable_scalars())["x"] = value;
    const auto read = RecordFromJson(RecordToJson(record), "x");
    EXPECT_EQ(std::get<v1::StepRecord>(*read).scalars().at("x"), value);
  }
}

TEST(RecordJsonTest, NotFinite_IsNullAndReadsAsNan) {
  v1::StepRecord record;
  (*record.mutable_scalars())["a"] = NAN;
  (*record.mutable_scalars())["b"] = std::numeric_limits<double>::infinity();
  const std::string line = RecordToJson(record);
  EXPECT_THAT(line, HasSubstr(R"("scalars":{"a":null,"b":null})"));
  EXPECT_TRUE(std::isnan(std::get<v1::StepRecord>(*RecordFromJson(line, "x")).scalars().at("a")));
}

TEST(RecordJsonTest, BadLines_SayWhatIsWrong) {
  const struct {
    const char* line;
    const char* want;
  } cases[] = {
      {"[]", "m:1: not an object"},
      {"{\"kind\":\"step\"", "m:1: not valid JSON"},
      {"{}", "m:1: \"kind\" is not a string"},
      {R"({"kind":"other"})", "m:1: \"kind\" is not \"step\" or \"eval\""},
      {R"({"kind":"step","step":1.5})", "m:1: \"step\" is not an integer"},
      {R"({"kind":"step","step":1,"scalars":[]})", "m:1: \"scalars\" is not an object"},
      {R"({"kind":"eval","version":1,"rows":2,"exact_match":"x"})",
       "m:1: \"exact_match\" is not a number or null"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(std::string(RecordFromJson(c.line, "m:1").status().message()), HasSubstr(c.want));
  }
}

TEST(ReadMetricsTest, TornLastLine_LeftOut) {
  const std::string path = testing::TempDir() + "/torn.jsonl";
  const std::string text = RecordToJson(Step()) + "\n" + RecordToJson(Eval()) + "\n{\"kind\":\"st";
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  const auto file = ReadMetrics(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->steps.size(), 1);
  EXPECT_EQ(file->evals.size(), 1);
}

TEST(ReadMetricsTest, BadLineInside_NamesPathAndLine) {
  const std::string path = testing::TempDir() + "/bad.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, RecordToJson(Step()) + "\noops\n").ok());
  EXPECT_THAT(std::string(ReadMetrics(path).status().message()),
              HasSubstr("/bad.jsonl:2: not valid JSON"));
}

}  // namespace
}  // namespace retort::metrics
