#include "common/text/jinja/template.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::text::jinja {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<Rendering> Render(absl::string_view source, std::vector<Variable> variables = {},
                                 const Limits& limits = {}) {
  const auto parsed = Template::Parse(source, "t", limits);
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->Render(variables, std::nullopt);
}

std::string Message(absl::string_view source, const Limits& limits = {}) {
  const auto got = Render(source, {}, limits);
  return got.ok() ? absl::StrCat("made: ", got->text) : std::string(got.status().message());
}

TEST(TemplateTest, Generation_Blocks_AreWhereTheirTextIs) {
  const auto got = Render(
      "<s>{% for m in [1, 22] %}u{% generation %}é{{ m }}{% endgeneration %}\n{% endfor %}"
      "{% generation %}{% endgeneration %}");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->text, "<s>ué1ué22");  // trim_blocks takes the line ends.
  EXPECT_THAT(got->generation, ElementsAre(ByteRange{4, 7}, ByteRange{8, 12}, ByteRange{12, 12}));
}

TEST(TemplateTest, FirstItems_OfAnArray_TheRestIsGone) {
  const auto got = Render("{{ m | join(',') }}", {{"m", "[1, 2, 3]", 2}});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->text, "1,2");
}

TEST(TemplateTest, StrftimeNow_WithoutADate_Refused) {
  EXPECT_THAT(Message("{{ strftime_now('%Y') }}"), HasSubstr("t:1: strftime_now"));
}

TEST(TemplateTest, Error_InALine_NamesIt) {
  EXPECT_THAT(Message("a\nb\n{{ x.y }}"), HasSubstr("t:3: \"x\" is undefined"));
  EXPECT_THAT(Message("{% if 1 %}\n\n{{ 1 +\n  nope.a }}{% endif %}"), HasSubstr("t:4:"));
  EXPECT_THAT(Message("{% macro f() %}\n{{ 1 / 0 }}\n{% endmacro %}\n\n{{ f() }}"),
              HasSubstr("t:2: division by zero"));
}

TEST(TemplateTest, Error_WithControlCharacters_IsOneLine) {
  const std::string message = Message("{{ raise_exception('a\\nb\\x07') }}");
  EXPECT_THAT(message, HasSubstr("a\\nb"));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

TEST(TemplateTest, EndlessWork_EachKind_EndsWithTheBound) {
  Limits limits;
  limits.max_steps = 100'000;
  const char* const sources[] = {
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "{{ 'x' * 1000000000000 }}",
      "{{ [1] * 1000000000000 }}",
      "{{ 'x' | center(1000000000000) }}",
      "{{ 'x'.rjust(1000000000000) }}",
      "{{ 'x'.zfill(1000000000000) }}",
      "{{ 'a' | indent(1000000000000, true) }}",
      "{{ [1] | tojson(indent=1000000000000) }}",
      "{% for i in range(99999) %}{% for j in [1] %}{{ i | string * 9 }}{% endfor %}{% endfor %}",
      "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
      "{{ [1, 2] | batch(1000000000000, 0) | list }}",
      "{{ [1] | slice(1000000000000) | list }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% "
      "endfor %}",
      "{{ ('a' * 9999) | replace('a', 'b' * 999) }}",
      "{{ ('a' * 9999).replace('', 'b' * 999) }}",
      "{{ 'x'.center(4611686018427387905, '😀') }}",
      "{{ [1] | tojson(separators=('x' * 3999999, ':')) | length }}"
      "{{ [1, 1] | tojson(separators=('x' * 999999, ':')) }}",
      "{% macro f() %}{{ kwargs }}{% endmacro %}{% set ns = namespace(d={}) %}"
      "{{ f(**dict(range(9999) | map('string') | batch(2) | list)) }}",
  };
  for (const char* source : sources) {
    const auto got = Render(source, {}, limits);
    EXPECT_EQ(got.status().code(), absl::StatusCode::kResourceExhausted) << source;
    EXPECT_THAT(std::string(got.status().message()), HasSubstr("t:1: ")) << source;
  }
}

// A long text that is looked at again and again, and nothing is made of it.
TEST(TemplateTest, EndlessReading_EachKind_EndsWithTheBound) {
  const char* const uses[] = {
      "s is lower",        "s is upper",       "s | wordcount",  "s | trim is none",
      "s | int",           "s | float",        "'%.0s' % s",     "'%.0s' | format(s)",
      "s.find('b')",       "s.count('b')",     "s.rfind(t)",     "s.find(t)",
      "s.strip(s) == 1",   "s | trim(s) == 1", "t in s",         "s | truncate(3)",
      "big == 1",          "big | float == 1", "-big == 1",      "s.partition(t) == 1",
      "s.startswith('b')", "s | title == 'b'", "{s: 1}[t] == 1",
  };
  const std::string text(100'000, 'a');
  const std::vector<Variable> variables = {
      {"s", "\"" + text + "\"", std::nullopt},
      {"t", "\"" + text.substr(1) + "b\"", std::nullopt},
      {"d", "\"" + std::string(100'000, '7') + "\"", std::nullopt}};
  Limits limits;
  limits.max_steps = 200'000;
  for (const char* use : uses) {
    const std::string source = std::string(
                                   "{% set big = d | int %}{% for i in range(9999) %}{% for j in "
                                   "range(9999) %}{% set x = ") +
                               use + " %}{% endfor %}{% endfor %}";
    const auto parsed = Template::Parse(source, "t", limits);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const auto got = (*parsed)->Render(variables, std::nullopt);
    EXPECT_EQ(got.status().code(), absl::StatusCode::kResourceExhausted)
        << use << ": " << got.status();
  }
}

TEST(TemplateTest, Recursion_WithoutEnd_IsRefusedNotACrash) {
  EXPECT_THAT(Message("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("1000 levels"));
  EXPECT_THAT(Message("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"),
              HasSubstr("levels deep"));
  EXPECT_THAT(Message("{% set ns = namespace(l=[]) %}{% for i in range(5000) %}"
                      "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}"),
              HasSubstr("levels deep"));
  EXPECT_THAT(Message("{% set a = namespace(l=[]) %}{% set b = namespace(l=[]) %}"
                      "{% for i in range(5000) %}{% set a.l = [a.l] %}{% set b.l = [b.l] %}"
                      "{% endfor %}{{ a.l == b.l }}"),
              HasSubstr("levels deep"));
}

TEST(TemplateTest, Source_NestedTooDeep_Refused) {
  const auto repeat = [](const std::string& unit, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += unit;
    return text;
  };
  const std::string sources[] = {
      absl::StrCat("{{ ", repeat("(", 5000), "1", repeat(")", 5000), " }}"),
      absl::StrCat("{{ ", repeat("[", 5000), repeat("]", 5000), " }}"),
      absl::StrCat("{{ ", repeat("not ", 5000), "1 }}"),
      absl::StrCat("{{ ", repeat("-", 5000), "1 }}"),
      absl::StrCat("{{ 1", repeat(" + 1", 5000), " }}"),
      absl::StrCat("{{ 1", repeat(" and 1", 5000), " }}"),
      absl::StrCat("{{ 1", repeat(" if 1 else 1", 5000), " }}"),
      absl::StrCat("{{ x", repeat(".a", 5000), " }}"),
      absl::StrCat("{{ x", repeat("()", 5000), " }}"),
      absl::StrCat("{{ x", repeat(" | abs", 5000), " }}"),
      absl::StrCat("{{ f(", repeat("f(", 5000), repeat(")", 5000), ") }}"),
      absl::StrCat(repeat("{% if 1 %}", 5000), repeat("{% endif %}", 5000)),
  };
  for (const std::string& source : sources) {
    const auto got = Render(source);
    EXPECT_EQ(got.status().code(), absl::StatusCode::kResourceExhausted) << source.substr(0, 30);
  }
  EXPECT_EQ(Render(absl::StrCat("{{ 1", repeat(" + 1", 200), " }}"))->text, "201");
}

TEST(TemplateTest, Sizes_BeyondTheLimits_Refused) {
  Limits limits;
  limits.max_template_bytes = 10;
  EXPECT_THAT(Message("01234567890", limits), HasSubstr("at most 10"));
  EXPECT_EQ(Message("0123456789", limits), "made: 0123456789");
  limits = {};
  limits.max_output_bytes = 10;
  EXPECT_EQ(Message("{{ 'x' * 10 }}", limits), "made: xxxxxxxxxx");
  EXPECT_THAT(Message("{{ 'x' * 11 }}", limits), HasSubstr("longer than 10 bytes"));
  limits = {};
  limits.max_input_bytes = 4;
  EXPECT_TRUE(Render("", {{"x", "1234", std::nullopt}}, limits).ok());
  EXPECT_FALSE(Render("", {{"x", "12345", std::nullopt}}, limits).ok());
}

TEST(TemplateTest, Variable_NotJson_RefusedByName) {
  for (const char* json :
       {"", "{", "[1,]", "nan", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "\"\xff\""}) {
    const auto got = Render("", {{"x", json, std::nullopt}});
    EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(std::string(got.status().message()), HasSubstr("t: x: ")) << json;
  }
  const std::string deep = absl::StrCat(std::string(65, '['), std::string(65, ']'));
  EXPECT_FALSE(Render("", {{"x", deep, std::nullopt}}).ok());
}

TEST(TemplateTest, Source_NotUtf8_RefusedWithItsByte) {
  EXPECT_THAT(Message("ab\xff"), HasSubstr("not UTF-8 at byte 2"));
}

TEST(TemplateTest, Render_FromManyThreads_SameText) {
  const auto parsed = Template::Parse(
      "{% macro f(x) %}{{ x ~ 'é' }}{% endmacro %}{% for i in range(50) %}{{ f(i) | upper }}"
      "{{ 'con' 'stant'[1:] }}{% endfor %}",
      "t");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const std::string want = (*parsed)->Render({}, std::nullopt)->text;
  std::vector<std::string> got(4);
  std::vector<std::thread> threads;
  for (std::string& text : got) {
    threads.emplace_back([&] { text = (*parsed)->Render({}, std::nullopt)->text; });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : got) EXPECT_EQ(text, want);
}

}  // namespace
}  // namespace retort::text::jinja
