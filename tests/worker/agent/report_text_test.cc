#include "worker/agent/report_text.h"

#include "gtest/gtest.h"

namespace retort::worker {
namespace {

TEST(ReportTextTest, ReportText_ValidUtf8_Unchanged) {
  const std::string text = "a \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf";
  EXPECT_EQ(ReportText(text, 100), text);
}

TEST(ReportTextTest, ReportText_InvalidBytes_QuestionMarks) {
  EXPECT_EQ(ReportText("a\xff"
                       "b",
                       100),
            "a?b");
  EXPECT_EQ(ReportText("\xc3", 100), "?");                 // Cut off.
  EXPECT_EQ(ReportText("\xc0\x80", 100), "??");            // Overlong.
  EXPECT_EQ(ReportText("\xe0\x80\x80", 100), "???");       // Overlong.
  EXPECT_EQ(ReportText("\xed\xa0\x80", 100), "???");       // A surrogate.
  EXPECT_EQ(ReportText("\xf4\x90\x80\x80", 100), "????");  // Above U+10FFFF.
}

TEST(ReportTextTest, ReportText_Long_CutAtACharacter) {
  EXPECT_EQ(ReportText("ab\xe2\x82\xac", 4), "ab");
  EXPECT_EQ(ReportText("ab\xe2\x82\xac", 5), "ab\xe2\x82\xac");
}

}  // namespace
}  // namespace retort::worker
