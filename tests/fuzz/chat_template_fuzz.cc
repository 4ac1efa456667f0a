// A chat template and messages: a refusal in one line that names the template, or a UTF-8 text with
// ranges inside of it.
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/text/jinja/template.h"
#include "fuzz/fuzz_target.h"

namespace retort::fuzz {
namespace {

using text::jinja::Template;

constexpr char kMessages[] =
    R"([{"role":"user","content":"a\nb"},{"role":"assistant","content":"ü <|im_end|>",)"
    R"("tool_calls":[{"name":"f","arguments":{"x":1.5e300,"y":[true,null,12345678901234567890]}}]}])";

// Small enough that an input which loops is refused in a moment.
text::jinja::Limits SmallLimits() {
  text::jinja::Limits limits;
  limits.max_template_bytes = 1 << 16;
  limits.max_input_bytes = 1 << 16;
  limits.max_steps = 50'000;
  limits.max_output_bytes = 1 << 20;
  limits.max_nesting = 100;
  limits.max_depth = 300;
  return limits;
}

std::string Seed(absl::string_view source) { return absl::StrCat(source, kSeparator, kMessages); }

}  // namespace

std::vector<std::string> Seeds() {
  return {
      Seed("{%- for m in messages %}\n{{- '<|im_start|>' + m.role + '\\n' + m['content'] | trim }}"
           "{% if loop.last and add_generation_prompt %}x{% elif not loop.first %}y{% else %}z"
           "{% endif %}{% endfor %}"),
      Seed("{% macro f(a, b=2) %}{{ a ~ b }}{{ caller() if caller }}{{ kwargs }}{% endmacro %}"
           "{{ f(1, b='x') }}{% call f(messages|length) %}y{% endcall %}"),
      Seed("{% set ns = namespace(n=0) %}{% for m in messages if m.role != 'system' %}"
           "{% set ns.n = ns.n + loop.index %}{{ loop.cycle('a', 'b') }}{% endfor %}"
           "{{ ns.n * 2 // 3 % 5 }}{{ range(10)[2:8:2] if false else messages[::-1] }}"),
      Seed("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | "
           "join(', ') }}{{ messages | tojson(indent=2) }}{{ {'a': [1, 2.5, none]} | items | list "
           "}}"),
      Seed("{% for m in messages %}{% generation %}{{ m.content.split('\\n')[0].upper() }}"
           "{% endgeneration %}{% if loop.index > 1 %}{% break %}{% endif %}{% endfor %}"),
      Seed(
          "{% set x %}{# c #}{% raw %}{{ x }}{% endraw %}{% endset %}{% filter upper | indent(2) %}"
          "{{ x }}{% endfilter %}{% with a=1, b='q' %}{{ a }}{{ b.center(9, '*') }}{% endwith %}"),
      Seed("{{ 'ab' is string and 3 is odd or x is defined }}{{ '%s-%03d' % ('a', 7) }}"
           "{{ '{} {k}'.format(1, k=2) }}{{ [3, 1, 2] | sort(reverse=true) }}{{ 1 < 2 < 3 }}"),
      Seed("{{ strftime_now('%d %b %Y') }}{{ [1, 2, 3, 4] | batch(3, 0) | list }}"
           "{{ messages | groupby('role') | length }}{{ 2.675 | round(2) }}{{ 'x' | default('y') "
           "}}"),
  };
}

}  // namespace retort::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort;
  const std::vector<absl::string_view> documents = fuzz::Documents(data, size);
  const std::initializer_list<absl::StatusCode> codes = {absl::StatusCode::kInvalidArgument,
                                                         absl::StatusCode::kUnimplemented,
                                                         absl::StatusCode::kResourceExhausted};
  const auto parsed = text::jinja::Template::Parse(documents[0], "t", fuzz::SmallLimits());
  if (!parsed.ok()) {
    fuzz::CheckRefusal(parsed.status(), codes, {"t:"});
    return 0;
  }
  const std::string messages(documents.size() > 1 ? documents[1] : "[]");
  const std::vector<text::jinja::Variable> variables = {
      {"messages", messages, std::nullopt},
      {"add_generation_prompt", "true", std::nullopt},
      {"bos_token", "\"<s>\"", std::nullopt}};
  const auto rendering = (*parsed)->Render(variables, absl::CivilSecond(2024, 7, 26));
  if (!rendering.ok()) {
    fuzz::CheckRefusal(rendering.status(), codes, {"t:"});
    return 0;
  }
  fuzz::NoteAccepted();
  RETORT_CHECK(!FirstInvalidByte(rendering->text));
  for (const text::jinja::ByteRange& range : rendering->generation) {
    RETORT_CHECK(range.begin <= range.end && range.end <= rendering->text.size());
  }
  return 0;
}
