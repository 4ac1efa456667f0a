#include "common/base/printable.h"

#include <string>

#include "gtest/gtest.h"

namespace retort {
namespace {

TEST(PrintableTest, Printable_PlainText_Unchanged) {
  const std::string text = "a \"b\" \\p{L} \xc3\xa9\xe2\x82\xac";
  EXPECT_EQ(Printable(text), text);
}

TEST(PrintableTest, Printable_ControlCharacters_Escaped) {
  EXPECT_EQ(Printable(std::string("a\nb\0\x7f\x1b[1m", 9)), "a\\nb\\x00\\x7f\\x1b[1m");
  EXPECT_EQ(Printable("\xc2\x85"), "\\xc2\\x85");  // U+0085, a line break to some.
}

TEST(PrintableTest, Printable_NotUtf8_Escaped) {
  EXPECT_EQ(Printable("\xff\xc3\xa9\xe2\x82"), "\\xff\xc3\xa9\\xe2\\x82");
}

TEST(PrintableTest, Printable_Long_CutAtACharacter) {
  EXPECT_EQ(Printable("abcd", 4), "abcd");
  EXPECT_EQ(Printable("abcde", 4), "abcd…");
  EXPECT_EQ(Printable("ab\xe2\x82\xac", 4), "ab…");
  EXPECT_EQ(Printable("ab\xe2\x82\xac", 5), "ab\xe2\x82\xac");
}

}  // namespace
}  // namespace retort
