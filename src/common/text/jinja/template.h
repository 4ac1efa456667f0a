// A sandboxed interpreter of the Jinja that chat templates use, equal to Jinja2's
// ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop controls, the functions
// raise_exception and strftime_now, the filter tojson of Python's json.dumps(ensure_ascii=False)
// and {% generation %}. No files, no clock, no network; what it lacks it refuses by name.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "absl/types/span.h"
#include "common/text/jinja/limits.h"

namespace retort::text::jinja {

// [begin, end) of a text, in bytes.
struct ByteRange {
  size_t begin;
  size_t end;

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

struct Variable {
  std::string name;
  std::string json;  // UTF-8. Keys keep their order, integers of any size their digits.
  // Of a JSON array: only the first so many items.
  std::optional<size_t> first_items;
  // Of an array of messages: where one has its reasoning as `reasoning_content`, `thinking` or
  // `reasoning` (the first that is not null), it gets it as the first of these, and as `thinking`
  // unless it has that. As Transformers does.
  bool alias_reasoning = false;
};

struct Rendering {
  std::string text;
  std::vector<ByteRange> generation;  // The {% generation %} blocks, in order.
};

struct ParsedTemplate;

// Immutable: any number of threads may render it at once.
class Template {
 public:
  // `name` stands for the file in errors, which are one line, "NAME:LINE: what". INVALID_ARGUMENT
  // for text that is not a template, UNIMPLEMENTED naming a tag, filter or test that this
  // interpreter lacks, RESOURCE_EXHAUSTED naming the bound that is passed.
  static absl::StatusOr<std::unique_ptr<const Template>> Parse(absl::string_view source,
                                                               absl::string_view name,
                                                               const Limits& limits = {});
  ~Template();

  // `now` is what strftime_now tells; without it a template that asks for the date fails. Errors
  // as above; INVALID_ARGUMENT too when the template calls raise_exception, with its message, and
  // when a variable is not JSON.
  absl::StatusOr<Rendering> Render(absl::Span<const Variable> variables,
                                   std::optional<absl::CivilSecond> now) const;

  const std::string& name() const { return name_; }

 private:
  Template(std::unique_ptr<ParsedTemplate> parsed, std::string name, const Limits& limits);

  const std::unique_ptr<ParsedTemplate> parsed_;
  const std::string name_;
  const Limits limits_;
};

}  // namespace retort::text::jinja
