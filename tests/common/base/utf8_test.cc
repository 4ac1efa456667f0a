#include "common/base/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace retort {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";

TEST(Utf8Test, FirstInvalidByte_EveryKindOfError) {
  const struct {
    std::string bytes;
    std::optional<size_t> want;
  } cases[] = {
      {"", std::nullopt},
      {"a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", std::nullopt},
      {"\xf4\x8f\xbf\xbf", std::nullopt},
      {"a\x80", 1},             // Continuation without a lead.
      {"\xc0\x80", 0},          // Overlong.
      {"\xe0\x9f\xbf", 0},      // Overlong.
      {"\xf0\x8f\xbf\xbf", 0},  // Overlong.
      {"\xed\xa0\x80", 0},      // Surrogate.
      {"\xf4\x90\x80\x80", 0},  // Above U+10FFFF.
      {"ab\xe2\x82", 2},        // Cut off.
      {"\xff", 0},
  };
  for (const auto& c : cases)
    EXPECT_EQ(FirstInvalidByte(c.bytes), c.want) << testing::PrintToString(c.bytes);
}

TEST(Utf8Test, CodePoint_InvertsAppend) {
  for (const char32_t code_point :
       {0x0u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    std::string text;
    AppendUtf8(code_point, &text);
    EXPECT_EQ(CodePoint(text), code_point);
    EXPECT_EQ(CharacterBytes(text[0]), text.size());
  }
}

TEST(Utf8Test, AppendLossy_OneReplacementPerMaximalPart) {
  const auto lossy = [](absl::string_view bytes) {
    std::string out;
    EXPECT_EQ(AppendLossyUtf8(bytes, /*final=*/true, &out), bytes.size());
    return out;
  };
  const std::string r = kReplacement;
  EXPECT_EQ(lossy("\xf0\x9f\x98z"), r + "z");
  EXPECT_EQ(lossy("\xe0\x80\x80"), r + r + r);
  EXPECT_EQ(lossy("\xed\xa0\x80"), r + r + r);
  EXPECT_EQ(lossy("\xe2\x82\xe2\x82\xac"), r + "\xe2\x82\xac");
  EXPECT_EQ(lossy("\xc3"), r);
}

TEST(Utf8Test, Lossy_WholeText) {
  EXPECT_EQ(LossyUtf8("a\xffz\xe2"), std::string("a") + kReplacement + "z" + kReplacement);
}

TEST(Utf8Test, AppendLossyNotFinal_UnfinishedCharacterStays) {
  std::string out;
  EXPECT_EQ(AppendLossyUtf8("a\xf0\x9f", /*final=*/false, &out), 1);
  EXPECT_EQ(AppendLossyUtf8("\xff\xe2", /*final=*/false, &out), 1);
  EXPECT_EQ(out, std::string("a") + kReplacement);
}

}  // namespace
}  // namespace retort
