#include "common/text/jinja/template.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/evaluator.h"
#include "common/text/jinja/failure.h"
#include "common/text/jinja/json_value.h"
#include "common/text/jinja/parser.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/scope.h"
#include "common/text/jinja/token.h"

namespace retort::text::jinja {

struct ParsedTemplate {
  Block body;
};

namespace {

constexpr size_t kMaxMessageBytes = 2000;

absl::Status StatusOf(const Failure& failure, absl::string_view name) {
  const std::string where =
      failure.line > 0 ? absl::StrCat(name, ":", failure.line) : std::string(name);
  return absl::Status(failure.code,
                      absl::StrCat(where, ": ", Printable(failure.message, kMaxMessageBytes)));
}

void AliasReasoning(Runtime& runtime, DictObject* message) {
  const Value* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    reasoning = FindKey(runtime, *message, name);
    if (reasoning != nullptr && !reasoning->Is(Kind::kNone)) break;
    reasoning = nullptr;
  }
  if (reasoning == nullptr) return;
  const Value text = *reasoning;
  const Value aliased = runtime.Dict({});
  auto* const dict = aliased.As<DictObject>();
  SetKey(runtime, dict, runtime.String("thinking"), text);
  for (const auto& [key, value] : message->entries) SetKey(runtime, dict, key, value);
  SetKey(runtime, dict, runtime.String("reasoning_content"), text);
  message->entries.swap(dict->entries);
}

Value Load(Runtime& runtime, const Variable& variable) {
  const Value value = FromJson(runtime, variable.json, variable.name);
  if (variable.first_items.has_value() && value.Is(Kind::kList)) {
    auto& items = value.As<SequenceObject>()->items;
    if (items.size() > *variable.first_items) items.resize(*variable.first_items);
  }
  if (variable.alias_reasoning && value.Is(Kind::kList)) {
    for (const Value& message : value.As<SequenceObject>()->items) {
      if (message.Is(Kind::kDict)) AliasReasoning(runtime, message.As<DictObject>());
    }
  }
  return value;
}

}  // namespace

Template::Template(std::unique_ptr<ParsedTemplate> parsed, std::string name, const Limits& limits)
    : parsed_(std::move(parsed)), name_(std::move(name)), limits_(limits) {}

Template::~Template() = default;

absl::StatusOr<std::unique_ptr<const Template>> Template::Parse(absl::string_view source,
                                                                absl::string_view name,
                                                                const Limits& limits) {
  try {
    auto parsed = std::make_unique<ParsedTemplate>();
    parsed->body = Parser(Tokenize(source, limits), limits).Parse();
    return std::unique_ptr<const Template>(
        new Template(std::move(parsed), std::string(name), limits));
  } catch (const Failure& failure) {
    return StatusOf(failure, name);
  }
}

absl::StatusOr<Rendering> Template::Render(absl::Span<const Variable> variables,
                                           std::optional<absl::CivilSecond> now) const {
  Runtime runtime(limits_);
  runtime.now = now;
  try {
    Scope scope(nullptr);
    for (const Variable& variable : variables) scope.Set(variable.name, Load(runtime, variable));
    Rendering rendering;
    Evaluator(runtime, &scope).Run(parsed_->body, &rendering.text, &rendering.generation);
    return rendering;
  } catch (const Failure& failure) {
    return StatusOf(failure, name_);
  }
}

}  // namespace retort::text::jinja
