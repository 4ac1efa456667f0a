#include "common/text/jinja/python_text.h"

#include "gtest/gtest.h"

namespace retort::text::jinja {
namespace {

// Expectations of this file: CPython 3.11.

TEST(PythonTextTest, Case_FullMappings_AsPython) {
  const struct {
    const char *text, *upper, *lower, *title, *capitalize, *swapcase;
  } cases[] = {
      {"straße ﬁ ŉ", "STRASSE FI ʼN", "straße ﬁ ŉ", "Straße Fi ʼN", "Straße ﬁ ŉ", "STRASSE FI ʼN"},
      {"ΑΣ ΑΣΒ Σ", "ΑΣ ΑΣΒ Σ", "ας ασβ σ", "Ας Ασβ Σ", "Ας ασβ σ", "ας ασβ σ"},
      {"İstanbul", "İSTANBUL", "i̇stanbul", "İstanbul", "İstanbul", "i̇STANBUL"},
      {"ǆ ǅ Ǆ", "Ǆ Ǆ Ǆ", "ǆ ǆ ǆ", "ǅ ǅ ǅ", "ǅ ǆ ǆ", "Ǆ ǅ ǆ"},
      {"they're bill's", "THEY'RE BILL'S", "they're bill's", "They'Re Bill'S", "They're bill's",
       "THEY'RE BILL'S"},
      {"ΐ ᾳ ᾼ", "Ϊ́ ΑΙ ΑΙ", "ΐ ᾳ ᾳ", "Ϊ́ ᾼ ᾼ", "Ϊ́ ᾳ ᾳ", "Ϊ́ ΑΙ ᾼ"},
      {"éÉ", "ÉÉ", "éé", "Éé", "Éé", "Éé"},
      {"a1b2", "A1B2", "a1b2", "A1B2", "A1b2", "A1B2"},
      {"ab-cd ef", "AB-CD EF", "ab-cd ef", "Ab-Cd Ef", "Ab-cd ef", "AB-CD EF"},
      {"ⅷ Ⅷ ⓐ", "Ⅷ Ⅷ Ⓐ", "ⅷ ⅷ ⓐ", "Ⅷ Ⅷ Ⓐ", "Ⅷ ⅷ ⓐ", "Ⅷ ⅷ Ⓐ"},
      {"", "", "", "", "", ""},
      {"ﬃ", "FFI", "ﬃ", "Ffi", "Ffi", "FFI"},
      {"Ａｂ", "ＡＢ", "ａｂ", "Ａｂ", "Ａｂ", "ａＢ"},
      {"𐐀𐐨", "𐐀𐐀", "𐐨𐐨", "𐐀𐐨", "𐐀𐐨", "𐐨𐐀"},
      {"ʼn", "ʼN", "ʼn", "ʼN", "ʼn", "ʼN"},
      {"ͅa", "ΙA", "ͅa", "Ιa", "Ιa", "ΙA"},
      {"o'neil.x", "O'NEIL.X", "o'neil.x", "O'Neil.X", "O'neil.x", "O'NEIL.X"},
      {"A.Σ", "A.Σ", "a.ς", "A.Σ", "A.ς", "a.ς"},
      {"Σ'", "Σ'", "σ'", "Σ'", "Σ'", "σ'"},
      {"1Σ", "1Σ", "1σ", "1Σ", "1σ", "1σ"},
      {"aΣ", "AΣ", "aς", "Aς", "Aς", "Aς"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Upper(c.text), c.upper);
    EXPECT_EQ(Lower(c.text), c.lower);
    EXPECT_EQ(Title(c.text), c.title);
    EXPECT_EQ(Capitalize(c.text), c.capitalize);
    EXPECT_EQ(SwapCase(c.text), c.swapcase);
  }
}

TEST(PythonTextTest, Predicates_EachKind_AsPython) {
  const struct {
    const char* text;
    bool upper, lower, title, alpha, decimal, digit, numeric, alnum, space, ascii;
  } cases[] = {
      {"A", true, false, true, true, false, false, false, true, false, true},
      {"a", false, true, false, true, false, false, false, true, false, true},
      {"Ab", false, false, true, true, false, false, false, true, false, true},
      {"AB1", true, false, false, false, false, false, false, true, false, true},
      {"1", false, false, false, false, true, true, true, true, false, true},
      {"²", false, false, false, false, false, true, true, true, false, false},
      {"½", false, false, false, false, false, false, true, true, false, false},
      {"一", false, false, false, true, false, false, true, true, false, false},
      {"٣", false, false, false, false, true, true, true, true, false, false},
      {"Ⅷ", true, false, true, false, false, false, true, true, false, false},
      {"ⓐ", false, true, false, false, false, false, false, false, false, false},
      {"ª", false, true, false, true, false, false, false, true, false, false},
      {"ǅ", false, false, true, true, false, false, false, true, false, false},
      {" 　", false, false, false, false, false, false, false, false, true, false},
      {"\034", false, false, false, false, false, false, false, false, true, true},
      {"", false, false, false, false, false, false, false, false, false, true},
      {"a b", false, true, false, false, false, false, false, false, false, true},
      {"_", false, false, false, false, false, false, false, false, false, true},
      {"é", false, true, false, true, false, false, false, true, false, false},
      {"a1", false, true, false, false, false, false, false, true, false, true},
      {"​", false, false, false, false, false, false, false, false, false, false},
      {"ʰ", false, true, false, true, false, false, false, true, false, false},
      {"①", false, false, false, false, false, true, true, true, false, false},
      {"㈠", false, false, false, false, false, false, true, true, false, false},
      {"Ab Cd", false, false, true, false, false, false, false, false, false, true},
      {"aB", false, false, false, true, false, false, false, true, false, true},
      {"A1b", false, false, false, false, false, false, false, true, false, true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(IsUpper(c.text), c.upper) << c.text;
    EXPECT_EQ(IsLower(c.text), c.lower) << c.text;
    EXPECT_EQ(IsTitle(c.text), c.title) << c.text;
    EXPECT_EQ(IsAlpha(c.text), c.alpha) << c.text;
    EXPECT_EQ(IsDecimal(c.text), c.decimal) << c.text;
    EXPECT_EQ(IsDigit(c.text), c.digit) << c.text;
    EXPECT_EQ(IsNumeric(c.text), c.numeric) << c.text;
    EXPECT_EQ(IsAlnum(c.text), c.alnum) << c.text;
    EXPECT_EQ(IsSpace(c.text), c.space) << c.text;
    EXPECT_EQ(IsAscii(c.text), c.ascii) << c.text;
  }
}

TEST(PythonTextTest, IsPythonSpace_EveryCodePoint_AsPython) {
  const char32_t spaces[] = {0x9,    0xa,    0xb,    0xc,    0xd,    0x1c,   0x1d,   0x1e,
                             0x1f,   0x20,   0x85,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002,
                             0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a,
                             0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
  size_t count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) count += IsPythonSpace(c) ? 1 : 0;
  EXPECT_EQ(count, sizeof spaces / sizeof *spaces);
  for (const char32_t c : spaces) EXPECT_TRUE(IsPythonSpace(c)) << static_cast<uint32_t>(c);
}

TEST(PythonTextTest, QuotePython_QuotesAndControls_AsRepr) {
  const struct {
    const char *text, *quoted;
  } cases[] = {
      {"a", "'a'"},
      {"it's", "\"it's\""},
      {"\"d\"", "'\"d\"'"},
      {"'\"", "'\\'\"'"},
      {"\012\015\011\\", "'\\n\\r\\t\\\\'"},
      {"\001\177 ­", "'\\x01\\x7f\\x85\\xa0\\xad'"},
      {"​ 　", "'\\u200b\\u2028\\u3000'"},
      {"😀󠀁", "'😀\\U000e0001'"},
      {"é́", "'é́'"},
      {"﻿", "'\\ufeff'"},
      {"􏿿", "'\\U0010ffff'"},
      {"͸", "'\\u0378'"},
  };
  for (const auto& c : cases) EXPECT_EQ(QuotePython(c.text), c.quoted);
}

TEST(PythonTextTest, SplitLines_EveryBoundary_WithAndWithoutEnds) {
  const auto lines = SplitLines("a\nb\r\nc\rd\x0b\x0c\x1c\x1d\x1e\u0085\u2028\u2029z\n", false);
  const std::vector<absl::string_view> want = {"a", "b", "c", "d", "", "", "", "", "", "", "", "z"};
  EXPECT_EQ(lines, want);
  EXPECT_EQ(SplitLines("a\r\nb\n", true), (std::vector<absl::string_view>{"a\r\n", "b\n"}));
  EXPECT_TRUE(SplitLines("", false).empty());
}

TEST(PythonTextTest, Strip_WhitespaceAndSets_AtCharacterBorders) {
  EXPECT_EQ(StripLeft("\u3000\x1c a "), "a ");
  EXPECT_EQ(StripRight(" a\u0085\u2003"), " a");
  EXPECT_EQ(StripRight("\u200b"), "\u200b");
  EXPECT_EQ(StripLeft("éaé", "é"), "aé");
  EXPECT_EQ(StripRight("aéx", "xé"), "a");
  EXPECT_EQ(StripRight("a日", "本"), "a日");  // They share bytes.
}

TEST(PythonTextTest, ByteOfCodePoint_BeyondTheEnd_IsTheEnd) {
  EXPECT_EQ(ByteOfCodePoint("aé😀b", 2), 3u);
  EXPECT_EQ(ByteOfCodePoint("aé😀b", 3), 7u);
  EXPECT_EQ(ByteOfCodePoint("aé", 9), 3u);
}

}  // namespace
}  // namespace retort::text::jinja
