#include "common/text/nfc.h"

#include <utf8proc.h>

#include <cstdlib>
#include <string>

#include "common/base/rng.h"
#include "common/base/utf8.h"
#include "common/text/random_text.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

std::string Nfc(absl::string_view text, EditMap* edits = nullptr) {
  std::string out;
  const bool changed = AppendNfc(text, &out, edits);
  EXPECT_EQ(changed, out != text);
  return out;
}

std::string WholeByUtf8proc(const std::string& text) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::string composed(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
  std::free(out);
  return composed;
}

TEST(NfcTest, KnownTexts_ComposeAndSort) {
  EXPECT_EQ(Nfc("abc"), "abc");
  EXPECT_EQ(Nfc("a\xcc\x88"
                "b"),
            "\xc3\xa4"
            "b");
  EXPECT_EQ(Nfc("\xe2\x84\xa6"), "\xce\xa9");                              // OHM SIGN
  EXPECT_EQ(Nfc("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"), "\xea\xb0\x81");  // Hangul.
  EXPECT_EQ(Nfc("q\xcc\x87\xcc\xa3"), "q\xcc\xa3\xcc\x87");                // Marks sorted by class.
  // U+0F73 is of class 0 and yet decomposes into marks that sort in among those in front.
  EXPECT_EQ(Nfc("\xe0\xbd\xb2\xe0\xbd\xb3"), WholeByUtf8proc("\xe0\xbd\xb2\xe0\xbd\xb3"));
}

TEST(NfcTest, Edits_MiddleOfWhatChanged) {
  EditMap edits;
  EXPECT_EQ(Nfc("xa\xcc\x88y \xe2\x84\xa6", &edits), "x\xc3\xa4y \xce\xa9");
  EXPECT_EQ(edits.edits(), (std::vector<Edit>{{1, 4, 1, 3}, {6, 9, 5, 7}}));
}

TEST(NfcTest, EveryCharacterAndPair_SameAsWhole) {
  for (char32_t c = 0; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string alone;
    AppendUtf8(c, &alone);
    ASSERT_EQ(Nfc(alone), WholeByUtf8proc(alone)) << "U+" << std::hex << static_cast<uint32_t>(c);
    const std::string pair = alone + "\xcc\x81";
    ASSERT_EQ(Nfc(pair), WholeByUtf8proc(pair)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(NfcTest, RandomTexts_SameAsWhole) {
  for (uint64_t round = 0; round < 50'000; ++round) {
    CounterRng rng(9, RngPurpose::kData, round);
    std::string text = RandomText(rng, 12);
    for (uint64_t i = rng.NextBelow(4); i > 0; --i) {  // Marks of many classes.
      AppendUtf8(static_cast<char32_t>(0x300 + rng.NextBelow(0x70)), &text);
    }
    ASSERT_EQ(Nfc(text), WholeByUtf8proc(text)) << "round " << round;
  }
}

TEST(NfcTest, MegabyteOfMarksInTheWrongOrder_Sorted) {
  std::string text = "a";
  for (int i = 0; i < 250'000; ++i) text += "\xcc\x87\xcc\xa3";  // Classes 230 and 220.
  const std::string sorted = Nfc(text);
  EXPECT_EQ(sorted.substr(0, 4), "\xe1\xba\xa1\xcc");  // U+1EA1, then a mark.
  EXPECT_EQ(sorted.substr(sorted.size() - 2), "\xcc\x87");
}

}  // namespace
}  // namespace retort::text
