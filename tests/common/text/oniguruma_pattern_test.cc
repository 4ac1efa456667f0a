#include "common/text/oniguruma_pattern.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "common/text/pattern.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::text {
namespace {

using testing::HasSubstr;

// All matches that are not empty, apart by "|".
std::string Matches(absl::string_view source, absl::string_view text) {
  const auto translated = PcreFromOniguruma(source);
  if (!translated.ok()) return std::string(translated.status().message());
  const auto pattern = Pattern::Compile(*translated);
  if (!pattern.ok()) return std::string(pattern.status().message());
  std::vector<absl::string_view> found;
  for (size_t from = 0; from <= text.size();) {
    const auto match = pattern->Find(text, from);
    if (!match.ok()) return std::string(match.status().message());
    if (!match->has_value()) break;
    from = (*match)->end;
    if ((*match)->begin == from) {
      ++from;
    } else {
      found.push_back(text.substr((*match)->begin, from - (*match)->begin));
    }
  }
  return absl::StrJoin(found, "|");
}

// What Hugging Face's tokenizers 0.23.3 find.
TEST(OnigurumaPatternTest, EachSyntax_FindsWhatOnigurumaFinds) {
  const struct {
    const char *pattern, *text, *matches;
  } cases[] = {
      {"[a-z&&[^aeiou]]+", "fooBar", "f|r"},
      {"[^a-z&&[^aeiou]]+", "fooBar", "ooBa"},
      {"[a-c[x-z]]+", "axmz", "ax|z"},
      {"[^a-c[x-z]]+", "axmz", "m"},
      {"[a-z&&b-y&&[^m]]+", "abmy", "b|y"},
      {"[[a-c]&&[b-d]]+", "abcd", "bc"},
      {"[]a]+", "]a[", "]a"},
      {"[^]a]+", "]a[", "["},
      {"[\\w&&[^a-z]]+", "aB\xc2\xb2", "B"},
      {"\\w+", "a\xc2\xb2 b", "a\xc2\xb2|b"},
      {"[\\W\\d]+", "a1 b", "1 "},
      {"\\h+", "xAf9z", "Af9"},
      {"[\\H]+", "xAf9z", "x|z"},
      {"^.", "ab\ncd", "a|c"},
      {".$", "ab\ncd", "b|d"},
      {".\\z", "ab\n", ""},
      {"(?m).+", "a\nb", "a\nb"},
      {".+", "a\nb", "a|b"},
      {"a(?i)b|c", "aB C aC", "aB|aC"},
      {"(?i:ab)c", "ABc ABC", "ABc"},
      {"\\p{N}{1,3}+", "12345", "12345"},
      {"\\p{N}{1,3}", "12345", "123|45"},
      {"a{,2}", "aaa", "aa|a"},
      {"a{2}{2}", "aaaaaa", "aaaa"},
      {"a{x}", "a{x}", "a{x}"},
      {"\\p{Han}+", "\xe6\x97\xa5\xe3\x80\x82", "\xe6\x97\xa5"},  // U+3002 is of many scripts.
      {"[[:punct:]]+", "a$-b", "$-"},
      {"[[:^alpha:]]+", "a1b", "1"},
      {"\\bfoo", "foo barfoo", "foo"},
      {"\\x41|\\x{e9}|\\u00e8|\\v", "A\xc3\xa9\xc3\xa8\x0b", "A|\xc3\xa9|\xc3\xa8|\x0b"},
      {"\\#", "a#", "#"},
      {"(a|b)+", "abc", "ab"},
  };
  for (const auto& c : cases) EXPECT_EQ(Matches(c.pattern, c.text), c.matches) << c.pattern;
}

TEST(OnigurumaPatternTest, UncertainSyntax_RefusedByNameAndByte) {
  const struct {
    const char *pattern, *message;
  } cases[] = {
      {"a\\X", "at byte 1: \"\\X\" is not supported"},
      {"\\Qa\\E", "\"\\Q\""},
      {"(a)\\1", "\"\\1\""},
      {"(?<n>a)", "\"(?<\""},
      {"(?s).", "\"(?s\""},
      {"(?x)a", "\"(?x\""},
      {"(?R)", "\"(?R\""},
      {"(*FAIL)", "\"(*\""},
      {"a{2}?", "\"{n}?\""},
      {"a{3,1}", "\"{3,1}\""},
      {"(?i)ss", "\"(?i:ss)\""},
      {"\\xC3\\xA9", "\"\\xC3\""},
      {"[[:graph:]]", "\"[:graph:]\""},
      {"\\p{Script=Han}", "\"\\p{Script=Han}\""},
      {"\\p{Nonsense}", "unknown property"},
      {"[&&a]", "\"[&&\""},
      {"[a", "ends inside of a class"},
      {"(a", "ends inside of a group"},
      {"a)", "closes nothing"},
      {"*a", "repeats nothing"},
      {"\\", "ends with a backslash"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(Matches(c.pattern, ""), HasSubstr(c.message)) << c.pattern;
  }
  EXPECT_THAT(Matches(std::string(1000, '('), ""), HasSubstr("nested too deeply"));
  EXPECT_THAT(Matches(std::string(1000, '['), ""), HasSubstr("nested too deeply"));
}

}  // namespace
}  // namespace retort::text
