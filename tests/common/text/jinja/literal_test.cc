#include "common/text/jinja/literal.h"

#include "common/text/jinja/failure.h"
#include "gtest/gtest.h"

namespace retort::text::jinja {
namespace {

TEST(LiteralTest, ScanNumber_EachForm_DigitsAndLength) {
  const struct {
    const char* source;
    bool allow_float;
    size_t bytes;
    bool is_float;
    const char* digits;
  } cases[] = {
      {"12 ", true, 2, false, "12"},
      {"1_000", true, 5, false, "1000"},
      {"1_", true, 1, false, "1"},
      {"1__0", true, 1, false, "1"},
      {"0x1F)", true, 4, false, "31"},
      {"0b102", true, 4, false, "2"},
      {"0o17", true, 4, false, "15"},
      {"0x", true, 1, false, "0"},
      {"0x_1", true, 4, false, "1"},
      {"1.5", true, 3, true, "1.5"},
      {"1.5", false, 1, false, "1"},
      {"1.", true, 1, false, "1"},
      {"1.x", true, 1, false, "1"},
      {"1e5", true, 3, true, "1e5"},
      {"1E-5", true, 4, true, "1e-5"},
      {"1e", true, 1, false, "1"},
      {"1e+", true, 1, false, "1"},
      {"1_0.2_5e1_0", true, 11, true, "10.25e10"},
      {"123456789012345678901", true, 21, false, "123456789012345678901"},
  };
  for (const auto& c : cases) {
    const NumberLiteral got = ScanNumber(c.source, c.allow_float);
    EXPECT_EQ(got.bytes, c.bytes) << c.source;
    EXPECT_EQ(got.is_float, c.is_float) << c.source;
    EXPECT_EQ(got.digits, c.digits) << c.source;
  }
}

TEST(LiteralTest, ScanNumber_HexadecimalBeyond64Bits_Refused) {
  EXPECT_EQ(ScanNumber("0x7fffffffffffffff", true).digits, "9223372036854775807");
  EXPECT_THROW(ScanNumber("0x8000000000000000", true), Failure);
}

TEST(LiteralTest, Unescape_EachEscape_AsPython) {
  EXPECT_EQ(Unescape("a\\n\\t\\\\\\'\\\"", 1), "a\n\t\\'\"");
  EXPECT_EQ(Unescape("\\a\\b\\f\\r\\v", 1), "\a\b\f\r\v");
  EXPECT_EQ(Unescape("\\x41\\u00e9\\U0001F600", 1), "Aé😀");
  EXPECT_EQ(Unescape("\\101\\7\\0", 1), std::string("A\a\0", 3));
  EXPECT_EQ(Unescape("\\q\\", 1), "\\q\\");
  EXPECT_EQ(Unescape("a\\\nb", 1), "ab");
}

TEST(LiteralTest, Unescape_NoCharacter_FailsAtItsLine) {
  for (const char* bad : {"\\ud800", "\\U00110000", "\\x4", "\\u12", "\\N{DIGIT ONE}"}) {
    try {
      Unescape(bad, 7);
      ADD_FAILURE() << bad;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.line, 7) << bad;
    }
  }
}

}  // namespace
}  // namespace retort::text::jinja
