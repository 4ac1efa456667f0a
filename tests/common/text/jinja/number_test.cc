#include "common/text/jinja/number.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace retort::text::jinja {
namespace {

// Expectations of this file: CPython 3.11.

TEST(NumberTest, FloatRepr_EachMagnitude_AsPython) {
  const struct {
    double value;
    const char* text;
  } cases[] = {
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {1.0, "1.0"},
      {0.1, "0.1"},
      {0.30000000000000004, "0.30000000000000004"},
      {1000000000000000.0, "1000000000000000.0"},
      {1e+16, "1e+16"},
      {1.2345678901234568e+17, "1.2345678901234568e+17"},
      {1e+22, "1e+22"},
      {0.0001, "0.0001"},
      {1e-05, "1e-05"},
      {1.5e-07, "1.5e-07"},
      {5e-324, "5e-324"},
      {1.7976931348623157e+308, "1.7976931348623157e+308"},
      {123456.789, "123456.789"},
      {2.5, "2.5"},
      {-1e+100, "-1e+100"},
      {9007199254740992.0, "9007199254740992.0"},
      {0.00012345, "0.00012345"},
  };
  for (const auto& c : cases) EXPECT_EQ(FloatRepr(c.value), c.text);
  EXPECT_EQ(FloatRepr(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(FloatRepr(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(FloatRepr(std::nan("")), "nan");
}

TEST(NumberTest, RoundFloat_Ties_AsPython) {
  const struct {
    double value;
    int digits;
    double want;
  } cases[] = {
      {2.5, 0, 2.0},       {3.5, 0, 4.0},        {-2.5, 0, -2.0}, {2.675, 2, 2.67},
      {42.55, 1, 42.5},    {1.005, 2, 1.0},      {0.5, 0, 0.0},   {1234.5, -2, 1200.0},
      {1e+300, 2, 1e+300}, {1250.0, -2, 1200.0}, {0.15, 1, 0.1},
  };
  for (const auto& c : cases) EXPECT_EQ(RoundFloat(c.value, c.digits), c.want) << c.value;
}

TEST(NumberTest, PythonInt_EachForm_DigitsOrNothing) {
  const struct {
    const char* text;
    int base;
    const char* want;  // nullptr: refused.
  } cases[] = {
      {" 12 ", 10, "12"},
      {"+5", 10, "5"},
      {"-007", 10, "-7"},
      {"-0", 10, "0"},
      {"1_000", 10, "1000"},
      {"1__0", 10, nullptr},
      {"_1", 10, nullptr},
      {"1_", 10, nullptr},
      {"", 10, nullptr},
      {"-", 10, nullptr},
      {"1.5", 10, nullptr},
      {"0x1f", 16, "31"},
      {"0x1f", 10, nullptr},
      {"1f", 16, "31"},
      {"0b101", 0, "5"},
      {"0o17", 0, "15"},
      {"z", 36, "35"},
      {"8", 8, nullptr},
      {"99999999999999999999999", 10, "99999999999999999999999"},
      {"\u30001", 10, "1"},
  };
  for (const auto& c : cases) {
    const auto got = PythonInt(c.text, c.base);
    EXPECT_EQ(got.has_value(), c.want != nullptr) << c.text;
    if (got.has_value() && c.want != nullptr) {
      EXPECT_EQ(*got, c.want);
    }
  }
}

TEST(NumberTest, PythonFloat_EachForm_NumberOrNothing) {
  for (const char* bad : {"", " ", "x", "1e", "e5", ".", "1_", "--1", "0x1p3", "1 2", "+-1"}) {
    EXPECT_FALSE(PythonFloat(bad).has_value()) << bad;
  }
  EXPECT_EQ(PythonFloat(" 1.5 "), 1.5);
  EXPECT_EQ(PythonFloat(".5"), 0.5);
  EXPECT_EQ(PythonFloat("5."), 5);
  EXPECT_EQ(PythonFloat("-1_0e1_0"), -1e11);
  EXPECT_EQ(PythonFloat("1e999"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(PythonFloat("-Infinity"), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(*PythonFloat("NaN")));
}

TEST(NumberTest, CompareIntegers_AnySize_InOrder) {
  const char* ascending[] = {"-100000000000000000000", "-99999999999999999999", "-1", "0", "1",
                             "99999999999999999999",   "100000000000000000000"};
  for (int i = 0; i < 7; ++i) {
    for (int j = 0; j < 7; ++j) {
      EXPECT_EQ(CompareIntegers(ascending[i], ascending[j]), i < j ? -1 : i > j ? 1 : 0);
    }
  }
}

TEST(NumberTest, CanonicalInteger_ZerosAndSigns_Dropped) {
  EXPECT_EQ(CanonicalInteger("-0"), "0");
  EXPECT_EQ(CanonicalInteger("+007"), "7");
  EXPECT_EQ(CanonicalInteger("-00100"), "-100");
}

}  // namespace
}  // namespace retort::text::jinja
