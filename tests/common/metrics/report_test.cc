#include "common/metrics/report.h"

#include <cmath>
#include <cstdlib>
#include <string>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/metrics/fake_run.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace retort::metrics {
namespace {

using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr char kDataBegin[] = "<script type=\"application/json\" id=\"data\">";

// The JSON that the page's script reads.
Json DataOf(const std::string& page) {
  const size_t begin = page.find(kDataBegin) + sizeof(kDataBegin) - 1;
  const auto json = ParseJson(page.substr(begin, page.find("</script>", begin) - begin), "page");
  EXPECT_TRUE(json.ok()) << json.status();
  return json.ok() ? *json : Json();
}

TEST(ReportTest, Run_ShowsHeadlineAndFacts) {
  const std::string page = RenderReport(FakeRun(100));
  EXPECT_THAT(page, HasSubstr("<title>quickstart-ppo · Retort</title>"));
  EXPECT_THAT(page, HasSubstr("<span class=\"from\">41.5 % → </span>95.8 %"));
  EXPECT_THAT(page, HasSubstr("9f2c66d1a3b04c5e8d7a11f0c2e4b6a8"));
  EXPECT_THAT(page, HasSubstr("2 min 10 s"));
  EXPECT_THAT(page, HasSubstr("<span class=\"pill good\">finished</span>"));
  EXPECT_THAT(page, ContainsRegex("[0-9],[0-9]{3} tokens/s</div>"));
  EXPECT_EQ(DataOf(page)["steps"].front(), 1);
  EXPECT_EQ(DataOf(page)["steps"].back(), 100);
  ASSERT_TRUE(WriteFileAtomically(testing::TempDir() + "/retort-report.html", page).ok());
}

TEST(ReportTest, Page_NeedsNothingFromOutside) {
  const std::string page = RenderReport(FakeRun(5));
  for (const char* reference : {"src=", "href=", "@import", "url(", "fetch(", "import("}) {
    EXPECT_THAT(page, Not(HasSubstr(reference)));
  }
  EXPECT_EQ(page.find("http"), page.find("http://www.w3.org/2000/svg"));
  EXPECT_EQ(page.find("http", page.find("http") + 1), page.npos);
  EXPECT_THAT(page, Not(HasSubstr("@DATA@")));
}

TEST(ReportTest, HostileText_IsEscapedEverywhere) {
  const std::string evil = "</script><script>alert(1)</script><!--'\"&";
  ReportInput input = FakeRun(2);
  input.name = input.status = input.algorithm = input.job_yaml = input.weight_digest = evil;
  input.facts = {{evil, evil}};
  input.steps[1].mutable_samples(0)->set_prompt(evil);
  input.steps[1].mutable_samples(0)->set_completion(evil + "\xe2\x80\xa8\xff");
  (*input.steps[1].mutable_scalars())[evil] = 1;
  const std::string page = RenderReport(input);
  EXPECT_THAT(page, Not(HasSubstr("alert(1)</script>")));
  EXPECT_THAT(page, Not(HasSubstr("<!--")));
  const Json data = DataOf(page);
  EXPECT_EQ(data["samples"][1]["rows"][0][0], evil);
  EXPECT_TRUE(data["series"].contains(evil));
}

TEST(ReportTest, PlaceholderInText_IsNotFilledIn) {
  ReportInput input = FakeRun(1);
  input.job_yaml = "@DATA@ @SCRIPT@";
  EXPECT_THAT(RenderReport(input), HasSubstr("<pre>@DATA@ @SCRIPT@</pre>"));
}

TEST(ReportTest, ThousandStepsOfLongCompletions_StaysBelow3Megabytes) {
  ReportInput input = FakeRun(1000);
  for (v1::StepRecord& step : input.steps) {
    for (v1::SampleText& sample : *step.mutable_samples()) {
      sample.set_prompt(std::string(1024, '<'));  // The worst text: six bytes for one in the page.
      sample.set_completion(std::string(1024, '&'));
    }
    for (int i = 0; i < 200; ++i)
      (*step.mutable_scalars())[absl::StrCat("extra/", i)] = 1.0 / (i + 3);
  }
  const std::string page = RenderReport(input);
  EXPECT_LT(page.size(), 3'000'000);
  const Json data = DataOf(page);
  EXPECT_GE(data["samples"].size(), 2);
  EXPECT_EQ(data["samples"].front()["at"], 1);  // People count steps from 1.
  EXPECT_EQ(data["samples"].back()["at"], 1000);
  EXPECT_THAT(page, HasSubstr("metrics.jsonl has all"));
  EXPECT_THAT(page, HasSubstr("Each point of a curve is the mean of"));
}

TEST(ReportTest, NotFiniteAndMissingValues_AreGaps) {
  ReportInput input = FakeRun(3);
  (*input.steps[1].mutable_scalars())["objective/kl"] = NAN;
  input.steps[2].mutable_scalars()->erase("objective/kl");
  const Json kl = DataOf(RenderReport(input))["series"]["objective/kl"];
  EXPECT_TRUE(kl[0].is_number());
  EXPECT_TRUE(kl[1].is_null());
  EXPECT_TRUE(kl[2].is_null());
}

TEST(ReportTest, EvaluationOfOneVersionTwice_LastCounts) {
  ReportInput input;
  for (const double match : {0.25, 0.5}) {
    v1::EvalRecord eval;
    eval.set_exact_match(match);
    input.evals.push_back(eval);
  }
  const Json evals = DataOf(RenderReport(input))["evals"];
  ASSERT_EQ(evals.size(), 1);
  EXPECT_EQ(evals[0]["match"], 0.5);
}

TEST(ReportTest, EmptyRun_IsAPage) {
  const std::string page = RenderReport(ReportInput());
  EXPECT_THAT(page, HasSubstr("</html>"));
  EXPECT_EQ(DataOf(page)["steps"].size(), 0);
}

}  // namespace
}  // namespace retort::metrics
